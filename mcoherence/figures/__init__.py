"""One function per figure: tidy data in, matplotlib figure out."""
