"""Airplanes against birds: CIFAR-2 by one wide hidden layer."""

import numpy as np

import fastmlp as fm
from fastmlp import plot
from fastmlp.datasets import DataError, Split, cifar
from fastmlp.demo.session import Session, accuracy, print_losses

MISSING = (
    "cifar2 needs CIFAR-10: pass --data with the unpacked folder (cifar-10-batches-py or "
    "cifar-10-batches-bin), or with an npz that has x_train, y_train, x_test and y_test"
)


def run(session: Session) -> None:
    """Train 3072-512-2 with tanh and log-softmax on 10 000 images, by mini-batches of 64."""
    if session.data is None:
        raise DataError(MISSING)
    session.begin(
        "a network 3072-512-2 tells airplanes from birds on images of 32 x 32 pixels, in"
        " mini-batches of 64, with SGD"
    )
    data = cifar.cifar2(session.data)
    x, x_test = cifar.normalise(data.x_train), cifar.normalise(data.x_test)
    seed = session.seeded(1)
    model = fm.Sequential(fm.Linear(3072, 512), fm.Tanh(), fm.Linear(512, 2), fm.LogSoftmax(dim=1))
    print(model)
    counts = [parameter.numel() for parameter in model.parameters()]
    print(f"{sum(counts)} parameters: {counts}")

    trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=1e-2), fm.NLLLoss())
    history = session.fit(
        trainer,
        x,
        data.y_train,
        epochs=100,
        batch_size=64,
        validation_data=(x_test, data.y_test),
        seed=seed,
    )
    print_losses(history.loss)
    predicted = model.predict(x_test).argmax(axis=1)
    session.end(
        f"final loss {history.loss[-1]:.6f}",
        f"training accuracy {accuracy(model.predict(x).argmax(axis=1), data.y_train):.4f}",
        f"accuracy {accuracy(predicted, data.y_test):.4f} on {len(predicted)} test images",
    )

    if session.plot:
        session.save_losses(history, "Airplanes and birds: loss")
        _draw_images(session, data, predicted)
        figure, (ax,) = plot.figure(size=(5.2, 4.4))
        plot.confusion_matrix(data.y_test, predicted, ax, class_names=cifar.CLASS_NAMES)
        session.save(figure, "confusion")
        figure, (ax,) = plot.figure(size=(5.6, 5.9))
        plot.first_layer(model, ax=ax)
        session.save(figure, "weights")


def _draw_images(session: Session, data: Split, predicted: np.ndarray) -> None:
    figure, axes = plot.figure(3, 8, size=(11.2, 5.2))
    with plot.look():
        shown = zip(axes, data.x_test, data.y_test, predicted, strict=False)  # the first few
        for ax, row, label, guess in shown:
            ax.imshow(row.reshape(3, 32, 32).transpose(1, 2, 0))
            colour = ax.xaxis.label.get_color() if label == guess else plot.COLOURS[1]
            ax.set_title(cifar.CLASS_NAMES[guess], color=colour, fontsize=10, weight="normal")
        for ax in axes:
            ax.axis("off")
        figure.suptitle("Test images and what the network sees in them (mistakes in orange)")
    session.save(figure, "images")
