"""What was said and what is learned from it.

Owns dialogs, their format, the store and the datasets made from it; knows nothing of torch or Textual.
"""
