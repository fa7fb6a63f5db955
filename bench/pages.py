"""Time and size of the page of ResNet-50 by the model, and of the digits classifier with its RTL timelines.

``python -m bench.pages`` prints JSON. What is compiled is compiled anew.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.report import Figure, emit, figures
from selvage.base.build import VARIABLE
from selvage.commands.exits import leave
from selvage.rtlsim.installed import check_simulator

CLASSIFIER = Path(__file__).parents[1] / "examples" / "digits" / "classifier.onnx"
ASKED = {"resnet50": (["shapes:resnet50"], 20.0), "classifier": ([str(CLASSIFIER), "--rtl"], 40.0)}
MEGABYTES = 5.0


def page(words: list[str], folder: Path) -> dict[str, Any]:
    """The whole command, from its start to its end, with an empty build folder."""
    out = folder / "page.html"
    words = [sys.executable, "-m", "selvage", "report", *words, "--out", str(out), "--json", str(folder / "page.json")]
    started = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True, env={**os.environ, VARIABLE: str(folder / "build")})
    seconds = time.perf_counter() - started
    content = json.loads((folder / "page.json").read_text())
    return {
        "seconds": seconds,
        "megabytes": out.stat().st_size / 1e6,
        "layers": len(content["layers"]),
        "timelines": len(content["timelines"]),
        "matching": sum(own["match"] for own in content["timelines"]),
    }


def main() -> int:
    check_simulator("icarus")
    found = {}
    for name, (words, _) in ASKED.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = page(words, Path(folder))
    targets = [
        Figure("seconds for ResNet-50", round(found["resnet50"]["seconds"], 1), "<=", ASKED["resnet50"][1]),
        Figure("megabytes of ResNet-50", round(found["resnet50"]["megabytes"], 2), "<=", MEGABYTES),
        Figure("layers of ResNet-50", found["resnet50"]["layers"], "==", 54),
        Figure(
            "seconds for the classifier with RTL",
            round(found["classifier"]["seconds"], 1),
            "<=",
            ASKED["classifier"][1],
        ),
        Figure("timelines that match", found["classifier"]["matching"], "==", found["classifier"]["timelines"]),
    ]
    figures("Pages", targets)
    emit({"benchmark": "pages", "pages": found, "targets": [own.as_dict() for own in targets]})
    return 0 if all(own.met for own in targets) else 1


if __name__ == "__main__":
    leave(main)
