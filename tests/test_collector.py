import gc
import subprocess
import sys

import pytest

from unfreeze.collector import paused


def test_nothing_is_collected_while_it_is_paused():
    with paused():
        assert not gc.isenabled()
        with paused():
            pass
        assert not gc.isenabled(), "who paused it first lets it go on"
    assert gc.isenabled()


def test_it_goes_on_after_an_error():
    with pytest.raises(ValueError, match="inside"), paused():
        raise ValueError("inside")
    assert gc.isenabled()


def test_a_process_of_ours_ends_without_a_last_collection():
    code = (
        "import atexit, gc\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 0))\n"  # what is registered first is called last
        "from unfreeze.cli import main\n"
        "main(['--version'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True"
