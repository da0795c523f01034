"""The composition root: it makes running parts of the settings. All packages meet only here."""
