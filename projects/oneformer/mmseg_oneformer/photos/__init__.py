"""Photos: which files are some, what their headers say, and their pixels.

All of the package reads photos here. The page is docs/photos.md; a test holds every reader to its table of forms.
"""
