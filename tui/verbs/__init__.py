"""One module for each group of verbs; `grammar` names them, `tui.cli` calls them."""
