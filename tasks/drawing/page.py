"""The style of every page that is written here: the sheet, and the palette as CSS variables for light and dark."""

from __future__ import annotations

from importlib.resources import files

from markupsafe import Markup

from tasks.drawing.palette import DARK, variable


def page_style() -> Markup:
    """What goes into a page's `<style>`: a page asks nothing of the network."""
    light = " ".join(f"{variable(colour)}: {colour};" for colour in DARK)
    dark = " ".join(f"{variable(colour)}: {other};" for colour, other in DARK.items())
    sheet = (files("tasks.drawing") / "page.css").read_text(encoding="utf-8")
    return Markup(f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{sheet}")
