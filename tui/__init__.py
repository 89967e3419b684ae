"""What a person sees and types. Never imports torch or its kin."""
