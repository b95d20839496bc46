"""Which configurations make a server and no pages: the rules stand in the table."""

from __future__ import annotations

import re

from worker.detect.marks import Mark


def serves(found: Mark) -> str:
    """What to change where it is certain that no pages will be made; else `""`."""
    package = found.place.package
    scripts = " ".join(map(str, package.table("scripts").values())) if package else ""
    for rule in found.fact.server:
        files = filter(None, (rule.file, rule.beside))
        text = "\n".join(body for each in files for _, body in found.place.texts(each))
        if rule.script and re.search(rule.script, scripts):
            continue
        if rule.unless:
            # A configuration that imports its parts may have it in one of them.
            unsure = re.search(r"""(?:from|require\(|import)\s*['"]\.""", text)
            if re.search(rule.unless, text) or unsure:
                continue
        elif not re.search(rule.when, text):
            continue
        return rule.cure
    return ""
