"""What every page that is written here shares: how its template is filled, its sheet, and the palette as CSS variables for light and dark."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from tasks.drawing.palette import DARK, variable


def rendered(package: str, template: str, **given: Any) -> Markup:
    """A template of a package's, filled; text among what is given is escaped, and a name that is not given is an error."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return Markup(environment.from_string(packaged(package, template)).render(**given))


def packaged(package: str, name: str) -> str:
    """The text of a file that lies in a package."""
    return (files(package) / name).read_text(encoding="utf-8")


def page_style() -> Markup:
    """What goes into a page's `<style>`: a page asks nothing of the network."""
    light = " ".join(f"{variable(colour)}: {colour};" for colour in DARK)
    dark = " ".join(f"{variable(colour)}: {other};" for colour, other in DARK.items())
    sheet = packaged("tasks.drawing", "page.css")
    return Markup(f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{sheet}")
