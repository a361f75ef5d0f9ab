"""Airplanes against birds: python examples/cifar2.py cifar-10-batches-py [--epochs N]"""

import argparse

import fastmlp as fm
from fastmlp.datasets import cifar

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data", help="the unpacked folder of CIFAR-10, or an npz with two classes")
parser.add_argument("--epochs", type=int, default=100)
options = parser.parse_args()

data = cifar.cifar2(options.data)
x_train, x_test = cifar.normalise(data.x_train), cifar.normalise(data.x_test)

fm.manual_seed(1)
model = fm.Sequential(
    fm.Linear(3072, 512),
    fm.Tanh(),
    fm.Linear(512, 2),
    fm.LogSoftmax(dim=1),
)
counts = [parameter.numel() for parameter in model.parameters()]
print(sum(counts), counts)


def report(info):
    print(f"epoch {info.epoch}: loss {info.loss:.4f}")


trainer = fm.Trainer(model, fm.SGD(model.parameters(), lr=1e-2), fm.NLLLoss())
trainer.fit(
    x_train,
    data.y_train,
    max_epoch=options.epochs,
    batch_size=64,
    seed=1,
    callbacks=[report],
    progress=False,
)

correct = model.predict(x_test).argmax(axis=1) == data.y_test
print(f"accuracy {correct.mean():.4f} on {len(correct)} test images")
