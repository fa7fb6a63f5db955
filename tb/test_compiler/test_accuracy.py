"""Answers counted: runs, batches, labels, intervals."""

import re

import numpy as np
import pytest

from examples.digits.network import held_out
from selvage.base.chip import load_chip
from selvage.base.errors import InputError
from selvage.base.noise import Cells, Converters, Noise
from selvage.commands.placed_layer import no_progress
from selvage.compiler import accuracy
from selvage.compiler.accuracy import Accuracy, Question, ask, check_labels, mean_interval
from selvage.compiler.compile_network import compile_network
from selvage.compiler.options import Options
from selvage.sim.devices import Devices
from tb.models.command_files import ROOT

NOISE = Noise(seed=4, cells=Cells(spread=0.3), adc=Converters(offset=0.3))


@pytest.fixture(scope="module")
def question() -> Question:
    images, labels = held_out()
    model, options = str(ROOT / "examples" / "digits" / "classifier.onnx"), Options(noise=NOISE)
    compiled = compile_network(model, load_chip("ou9x8"), images[:1], options, no_progress)
    return Question(compiled, compiled.imported.enter(images[:8]), labels[:8])


def test_each_run_is_drawn_from_a_seed_of_its_own(question: Question) -> None:
    runs = ask(question, NOISE, 4, 1)
    assert runs == [question.right(NOISE.seeded(seed)) for seed in (4, 5, 6, 7)]
    assert len(set(runs)) > 1
    assert ask(question, NOISE, 4, 1) == runs


def test_right_answers_are_counted_whatever_the_batches(question: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image alone: crossbars do not change from read to read, so the answers are the same."""
    assert len(question.batches) == 1
    ideal, drawn = question.right(None), question.right(NOISE)
    assert drawn < ideal == len(question.labels)
    wrong = Question(question.compiled, question.inputs, (question.labels + 1) % 10)
    assert wrong.right(None) == 0
    monkeypatch.setattr(accuracy, "ENTRIES", 1)
    assert [(own.start, own.stop) for own in question.batches] == [(k, k + 1) for k in range(8)]
    assert (question.right(None), question.right(NOISE)) == (ideal, drawn)


def test_every_batch_has_read_noise_of_its_own(question: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    begin = Devices.begin
    monkeypatch.setattr(Devices, "begin", lambda self, batch: (begun.append(batch), begin(self, batch)))
    monkeypatch.setattr(accuracy, "ENTRIES", 1)
    question.right(NOISE)
    layers = len(question.compiled.placements)
    assert begun == [batch for batch in range(8) for _ in range(layers)]


@pytest.mark.parametrize(
    ("labels", "shape", "says"),
    [
        (np.zeros(3, bool), (3, 10), "--labels are bool"),
        (np.zeros(2, int), (3, 10), "--labels have shape (2,), and for these inputs it must be (3,)"),
        (np.zeros((3, 1), int), (3, 10), "--labels have shape (3, 1)"),
        (np.zeros((3, 4, 5), int), (3, 10, 5, 4), "it must be (3, 5, 4)"),
        (np.array([0, -1, 1]), (3, 10), "--labels go from -1 to 1"),
    ],
)
def test_labels_that_do_not_fit(labels: np.ndarray, shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        check_labels(labels, 3, shape)


def test_labels_that_fit() -> None:
    assert check_labels(np.array([0, 9], np.uint8), 2, (2, 10)).tolist() == [0, 9]
    assert check_labels(np.array([0, 9]), 2, (2, 10, 1, 1)).dtype == np.int64
    assert check_labels(np.ones((2, 3, 4), int), 2, (2, 5, 3, 4)).shape == (2, 3, 4)


def test_intervals() -> None:
    """Of equal runs there is nothing between; of two kinds of run the mean's interval lies between them."""
    assert mean_interval(np.array([0.5] * 9)) == (0.5, 0.5, 0.5)
    assert mean_interval(np.array([0.7])) == (0.7, 0.7, 0.7)
    mean, low, high = mean_interval(np.array([0.1] * 5 + [0.9] * 5))
    assert mean == pytest.approx(0.5)
    # The number of high ones of ten draws is 2 .. 8 with 97.9 %, 3 .. 7 with 89 %.
    assert (low, high) == pytest.approx((0.1 + 0.8 * 0.2, 0.1 + 0.8 * 0.8))


def test_the_report_of_runs() -> None:
    found = Accuracy([50, 100, 0, 50], answers=100, ideal=96).report()
    assert (found["accuracy"], found["least"], found["most"], found["ideal"]) == (0.5, 0.0, 1.0, 0.96)
    assert found["runs"] == [0.5, 1.0, 0.0, 0.5]
    # Wilson: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z = 1.96, n = 100
    assert found["ideal_interval"] == pytest.approx([0.9016, 0.9843], abs=1e-4)
