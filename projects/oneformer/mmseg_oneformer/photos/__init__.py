"""Photos: which files are photos, their headers, and their pixels.

The whole package reads photos here. The page is docs/photos.md; a test checks every reader against its table of forms.
"""
