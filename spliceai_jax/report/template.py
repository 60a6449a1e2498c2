"""Pages from templates; the frame and the style of all of them is `layout.html`."""

import jinja2


def rendered(package: str, template: str, **facts: object) -> str:
    """Return a page as HTML.

    Arguments:
        package: The package whose folder holds the template.
        template: The template's file.
        facts: What it shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name, "") for name in (package, "spliceai_jax.report")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(template).render(**facts)
