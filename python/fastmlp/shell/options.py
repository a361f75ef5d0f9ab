"""The options of `fastmlp train` and `fastmlp predict`, and their help."""

import argparse
from pathlib import Path
from typing import Any

TRAIN = """\
Train a network on a CSV file whose first line has the columns' names: it
learns to predict one column, the target, from the others.

Columns of numbers are brought to one scale, text becomes a column of 0 and 1
for each of its values, missing values are allowed everywhere. Text that
differs from row to row, dates and columns with one value are left out, and a
note says so. A target of text, or of a few whole numbers, has classes;
another one is a regression. A fifth of the rows is held out, to score the
model with, beside the best constant answer."""
TRAIN_EXAMPLES = """\
examples:
  fastmlp train houses.csv --target price
  fastmlp train houses.csv --target price --drop id --save model.safetensors
  fastmlp train flowers.csv --target species --hidden 16 --picture out.png

`fastmlp predict model.safetensors new.csv` then predicts prices of other
rows, and fastmlp.load("model.safetensors") is the network in Python."""
PREDICT = """\
Predict a column of a CSV file by a model that `fastmlp train --save` has
written. The file needs the columns of the training by name, in any order;
others do not matter. The result is a CSV file with one line for each row,
written block by block."""
PREDICT_EXAMPLES = """\
examples:
  fastmlp predict model.safetensors new.csv > predicted.csv
  fastmlp predict model.safetensors new.csv --keep id --out predicted.csv
  gunzip -c new.csv.gz | fastmlp predict model.safetensors - --probabilities"""


def add_parsers(commands: Any, positive: Any, seed: Any) -> None:
    """The parsers of both; `positive` and `seed` are types of arguments."""
    train = _command(commands, "train", "train a network on a CSV file", TRAIN, TRAIN_EXAMPLES)
    train.add_argument("data", metavar="DATA", help="a CSV file, or - for standard input")
    train.add_argument("--target", required=True, metavar="COL", help="the column to predict")
    train.add_argument(
        "--task", choices=("auto", "classification", "regression"), default="auto",
        help="what the target has: classes or numbers (default: as it looks)",
    )  # fmt: skip
    train.add_argument("--save", metavar="FILE", help="where the model goes: FILE.safetensors")
    train.add_argument(
        "--picture", type=Path, metavar="FILE",
        help="draw the losses and the held-out rows (.png, .pdf, .svg)",
    )  # fmt: skip
    train.add_argument(
        "--drop", action="append", default=[], metavar="COL",
        help="leave a column out; may be given again",
    )  # fmt: skip
    train.add_argument(
        "--category", action="append", default=[], metavar="COL", dest="categories",
        help="a column of numbers that stand for something; may be given again",
    )  # fmt: skip
    train.add_argument(
        "--hidden", type=_sizes, metavar="N,N", help="the hidden layers (default: 256,256)"
    )
    train.add_argument(
        "--epochs", type=positive, default=100, metavar="N",
        help="how often all rows are passed through (default: %(default)s)",
    )  # fmt: skip
    train.add_argument(
        "--test-fraction", type=_fraction, default=0.2, metavar="X",
        help="the share of rows to score with, from 0 to 0.9 (default: %(default)s)",
    )  # fmt: skip
    train.add_argument(
        "--seed", type=seed, default=0, metavar="N",
        help="of the rows held out and the first weights (default: %(default)s)",
    )  # fmt: skip
    train.add_argument("--threads", type=positive, metavar="N", help="how many may run at once")
    train.set_defaults(progress="auto")

    predict = _command(
        commands, "predict", "predict a column of a CSV file by a trained model", PREDICT,
        PREDICT_EXAMPLES,
    )  # fmt: skip
    predict.add_argument("model", metavar="MODEL", help="the file of fastmlp train --save")
    predict.add_argument("data", metavar="DATA", help="a CSV file, or - for standard input")
    predict.add_argument("--out", metavar="FILE", help="where to (default: standard output)")
    predict.add_argument(
        "--keep", action="append", default=[], metavar="COL",
        help="a column of DATA to repeat beside the predictions; may be given again",
    )  # fmt: skip
    predict.add_argument("--probabilities", action="store_true", help="add a column for each class")


def _command(commands: Any, name: str, summary: str, text: str, examples: str) -> Any:
    return commands.add_parser(
        name,
        help=summary,
        description=text,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _sizes(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and 0 < int(part) <= 100_000 for part in parts):
        raise argparse.ArgumentTypeError(f"expected widths, such as 100,50, got {text!r}")
    return tuple(map(int, parts))


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 0.9:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 0.9, got {text!r}")
    return value
