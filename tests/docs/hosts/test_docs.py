"""The code in docs/hosts.md is the code that is tested here."""

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_documented_code_is_the_tested_code() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/hosts.md").read_text(), re.DOTALL)
    assert len(blocks) == 4
    examples = [*ROOT.glob("examples/failover/*.py"), *ROOT.glob("examples/read_your_writes/*.py")]
    tested = [path.read_text() for path in examples]
    for block in blocks:
        # A part of a function is shown without its indentation, which the formatter takes for a module's code.
        forms = block, textwrap.indent(block.replace("\n\n\n", "\n\n"), "    ")
        assert any(form in code for code in tested for form in forms), f"no example has this code:\n{block}"
