"""A trained network as a header in C, compiled: python examples/c_header.py [--epochs N]"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import fastmlp as fm

MAIN = """
#include <stdio.h>
#include "sine.h"

int main(void)
{
  float x[SINE_INPUTS] = {0.5f}, y[SINE_OUTPUTS];
  sine_predict(x, y);
  printf("%.6f", y[0]);
  return 0;
}
"""

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=500)
epochs = parser.parse_args().epochs

x = np.linspace(-3, 3, 200)[:, None]
model = fm.MLP([1, 16, 16, 1], activation="tanh", seed=0)
trainer = fm.Trainer(model, fm.Adam(model.parameters(), lr=0.01), fm.MSELoss())
trainer.fit(x, np.sin(x), max_epoch=epochs, batch_size=20, seed=0)
print(f"sin(0.5) is {np.sin(0.5):.6f}; predict gives {model.predict([[0.5]])[0, 0]:.6f}")

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    fm.export_c(model, folder / "sine.h", "sine")
    (folder / "main.c").write_text(MAIN)
    compiler = shutil.which("cc")
    if compiler is None:
        print("there is no compiler here for the program in C")
    else:
        subprocess.run([compiler, "-O2", "main.c", "-o", "main", "-lm"], cwd=folder, check=True)
        run = subprocess.run([folder / "main"], capture_output=True, text=True, check=True)
        print(f"the program in C gives {run.stdout}")
