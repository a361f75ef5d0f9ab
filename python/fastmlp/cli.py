"""The command ``fastmlp``: tables, demos, exports, the configuration, and what files hold."""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import fastmlp as fm
from fastmlp.datasets import DataError
from fastmlp.demo import DEMOS, Session
from fastmlp.files.overview import overview
from fastmlp.plot import is_available
from fastmlp.shell.options import add_parsers

BROKEN_PIPE = 141  # as a shell reports it of others


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; by default that of the process.

    Returns
    -------
    int
        The exit status: 0, or 1 after an error that is printed in one line, 130 after Ctrl-C, 141
        where nobody reads the output to its end.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.command == "train":
            _train(options)
        elif options.command == "predict":
            _predict(options)
        elif options.command == "info":
            _info(options.file)
        elif options.command == "export":
            _export(options)
        elif options.command == "demo" and options.name is not None:
            _demo(options)
        else:
            options.print_help()
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer would be told of at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (DataError, ImportError, OSError, UnicodeEncodeError) as error:
        print(f"fastmlp: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nfastmlp: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastmlp", description="Small neural networks, trained in native code."
    )
    parser.set_defaults(print_help=parser.print_help)
    parser.add_argument("--version", action="version", version=f"fastmlp {fm.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    add_parsers(commands, _positive, _seed)
    info = commands.add_parser(
        "info",
        help="print the version, instruction set, threads and devices; or what FILE holds",
        description="Print the version, instruction set, threads and devices; or what FILE holds.",
        epilog="example: fastmlp info model.safetensors",
    )
    info.add_argument("file", metavar="FILE", nargs="?", help="of a model or a training")

    export = commands.add_parser(
        "export",
        help="write a saved model as a C header or an ONNX file",
        description="Write a model that fastmlp.save has saved as a C header or an ONNX file.",
        epilog="example: fastmlp export model.safetensors --to onnx --output model.onnx",
    )
    export.add_argument("model", metavar="MODEL", type=Path, help="the file of fastmlp.save")
    export.add_argument("--to", required=True, choices=("c", "onnx"), help="what to write")
    export.add_argument("--output", required=True, type=Path, metavar="FILE", help="where")
    export.add_argument("--name", help="in C, what all names begin with (default: net)")
    export.add_argument("--weights", choices=("float16",), help="in C, how matrices are stored")

    width = max(map(len, DEMOS))
    demo = commands.add_parser(
        "demo",
        help="train a small network, print its losses and save its pictures",
        description="Train a small network, print its losses and save its pictures.",
        epilog="\n".join(
            [
                "demos:",
                *(f"  {name:{width}}  {demo.summary}" for name, demo in DEMOS.items()),
                "",
                "example: fastmlp demo spiral --out pictures",
            ]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.set_defaults(print_help=demo.print_help)
    demo.add_argument("name", metavar="NAME", nargs="?", choices=DEMOS, help="see the list below")
    demo.add_argument("--epochs", type=_positive, metavar="N", help="instead of the demo's own")
    demo.add_argument("--seed", type=_seed, metavar="N", help="instead of the demo's own")
    demo.add_argument("--threads", type=_positive, metavar="N", help="how many may run at once")
    demo.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="where pictures go (default: here)"
    )
    demo.add_argument("--no-plot", action="store_true", help="draw no pictures")
    demo.add_argument("--data", type=Path, metavar="PATH", help="CIFAR-10, for the demo cifar2")
    return parser


def _train(options: argparse.Namespace) -> None:
    from fastmlp.shell.report import check_picture, draw, summary
    from fastmlp.shell.training import train

    for path in (options.save, options.picture):  # before the training, in case it fails
        if path is not None and not os.path.isdir(folder := os.path.dirname(path) or "."):
            raise DataError(f"{path}: there is no folder {folder}")
        if path is not None and os.path.isdir(path):
            raise DataError(f"{path}: expected a file, got a folder")
    if options.picture is not None:
        check_picture(options.picture)
    with nullcontext() if options.threads is None else fm.threads(options.threads):
        result = train(options)
    if options.save is not None:
        result.model.save(options.save)
    if options.picture is not None:
        draw(result, options.picture)
    size = 0 if options.save is None else os.path.getsize(options.save)
    print(summary(result, options.data, options.save, size))


def _predict(options: argparse.Namespace) -> None:
    from fastmlp.shell.predicting import predict

    predict(options)


def _export(options: argparse.Namespace) -> None:
    given = {option: getattr(options, option) for option in ("name", "weights")}
    given = {option: value for option, value in given.items() if value is not None}
    if given and options.to != "c":
        raise DataError(f"--{next(iter(given))} is for --to c")
    try:
        model = fm.load(options.model)
        if options.to == "c":
            fm.export_c(model, options.output, **given)
        else:
            fm.to_onnx(model, options.output)
    except (TypeError, ValueError) as error:
        raise DataError(str(error)) from error


def _info(file: str | None) -> None:
    if file is None:
        fm.show_config()
        return
    try:
        print(overview(file))
    except ValueError as error:  # which says what is wrong with the file
        raise DataError(str(error)) from error


def _demo(options: argparse.Namespace) -> None:
    if options.data is not None and options.name != "cifar2":
        raise DataError(f"--data is for the demo cifar2: {options.name} has its own data")
    plot = not options.no_plot
    if plot and not is_available():
        print("no pictures without matplotlib: pip install matplotlib", file=sys.stderr)
        plot = False
    if plot:
        options.out.mkdir(parents=True, exist_ok=True)  # before the training, in case it fails
    session = Session(
        name=options.name,
        epochs=options.epochs,
        seed=options.seed,
        out=options.out,
        plot=plot,
        data=options.data,
    )
    with nullcontext() if options.threads is None else fm.threads(options.threads):
        DEMOS[options.name].run(session)


def _positive(text: str) -> int:
    return _integer(text, at_least=1, at_most=10**9)


def _seed(text: str) -> int:
    return _integer(text, at_least=0, at_most=2**32 - 1)  # what NumPy takes as a seed


def _integer(text: str, *, at_least: int, at_most: int) -> int:
    if not text.isdecimal() or not at_least <= int(text) <= at_most:
        raise argparse.ArgumentTypeError(
            f"expected an integer from {at_least} to {at_most}, got {text!r}"
        )
    return int(text)
