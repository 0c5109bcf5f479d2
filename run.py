"""Front door: ``python run.py suite=libero_spatial cache=adaptive``. ``python run.py --help`` says the rest."""

from __future__ import annotations

from runners.cli import main

if __name__ == "__main__":
    main()
