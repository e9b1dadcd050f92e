"""What the pages of the project share: colours, small drawings, a style sheet."""
