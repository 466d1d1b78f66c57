"""The page that tells a study: what was asked, what was found, and the curves to look at, in one file."""
