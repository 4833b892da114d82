"""Tensors on disk by key: against a plain dict, with damage, interruptions, threads and processes."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gemoclap.data.shards import Shards
from gemoclap.errors import GemoclapError

FORMS = {
    "audio": lambda size: torch.randint(-32768, 32767, (size,), dtype=torch.int16),
    "frames": lambda size: torch.randn(size, 5).to(torch.bfloat16),
    "half frames": lambda size: torch.randn(size, 5).half(),
    "layer means": lambda size: torch.randn(3, 7),
}


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def check(shards: Shards, expected: dict[str, Tensor]) -> None:
    assert len(shards) == len(expected)
    for key, tensor in expected.items():
        assert key in shards and shards.length(key) == len(tensor)
        assert shards[key].dtype == tensor.dtype and torch.equal(shards[key], tensor)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_a_folder_is_a_dict_that_outlives_its_process(tmp_path: Path, make: Callable[[int], Tensor], seed: int) -> None:
    torch.manual_seed(seed)
    chance = random.Random(seed)
    shards, expected = Shards(tmp_path / "new" / "folder"), {}
    for _ in range(chance.randrange(1, 6)):
        drawn = {
            f"key {chance.randrange(40)}": make(chance.choice([0, 1, 2, 300])) for _ in range(chance.randrange(12))
        }
        asked = [*drawn, "absent", *drawn]
        assert shards.missing(asked) == [key for key in [*drawn, "absent"] if key not in expected]
        shards.add(drawn)
        expected = {**drawn, **expected}
        check(shards, expected)
        check(Shards(shards.folder), expected)
    assert "absent" not in shards
    with pytest.raises(KeyError):
        shards["absent"]


def test_a_shard_is_one_safetensors_file_that_never_changes(tmp_path: Path) -> None:
    shards = Shards(tmp_path)
    shards.add({"a": torch.ones(2, 3), "b": torch.zeros(1, 3)})
    (first,) = files(tmp_path)
    before = first.read_bytes(), first.stat().st_mtime_ns
    assert torch.equal(load_file(first)["data"], torch.tensor([[1.0] * 3, [1.0] * 3, [0.0] * 3]))
    shards.add({"b": torch.full((9, 3), 7.0), "c": torch.ones(4, 3)})
    shards.add({"a": torch.ones(2, 3), "c": torch.ones(4, 3)})
    shards.add({})
    assert len(files(tmp_path)) == 2 and (first.read_bytes(), first.stat().st_mtime_ns) == before
    assert sum(len(load_file(path)["data"]) for path in files(tmp_path)) == 2 + 1 + 4


def test_an_item_is_a_copy_in_memory_of_its_own(tmp_path: Path) -> None:
    shards = Shards(tmp_path)
    shards.add({"a": torch.arange(10), "b": torch.arange(1000)})
    item = shards["a"]
    item.zero_()
    assert shards["a"].tolist() == list(range(10))
    assert item.untyped_storage().nbytes() == 10 * 8


def mapped_bytes() -> int:
    """Return how much of all files that are mapped into this process it has touched."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("there is no /proc to ask")
    return next(1024 * int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("RssFile"))


def test_only_the_bytes_of_an_item_are_read(tmp_path: Path) -> None:
    Shards(tmp_path).add({"large": torch.ones(16 * 2**20), "small": torch.arange(1000.0)})
    before = mapped_bytes()
    shards = Shards(tmp_path)
    assert shards.length("large") == 16 * 2**20 and shards["small"][999] == 999
    after_small = mapped_bytes()
    assert shards["large"].sum() == 16 * 2**20
    assert after_small - before < 2**24 < 3 * 2**24 < mapped_bytes() - before


def test_views_and_gradients_are_kept_as_plain_values(tmp_path: Path) -> None:
    frames = torch.randn(4, 30, 6, requires_grad=True)
    shards = Shards(tmp_path)
    shards.add({str(row): frames[row, : 10 + row, ::2] for row in range(4)})
    check(shards, {str(row): frames[row, : 10 + row, ::2].detach() for row in range(4)})


@pytest.mark.parametrize("other", [torch.ones(3, 4), torch.ones(3, 3).half(), torch.ones(3), torch.ones(3, 3, 3)])
def test_one_folder_holds_one_form(tmp_path: Path, other: Tensor) -> None:
    with pytest.raises(ValueError, match="one dtype and trailing shape"):
        Shards(tmp_path).add({"a": torch.ones(3, 3), "b": other})
    Shards(tmp_path).add({"a": torch.ones(3, 3)})
    with pytest.raises(ValueError, match="one dtype and trailing shape"):
        Shards(tmp_path).add({"b": other})
    check(Shards(tmp_path), {"a": torch.ones(3, 3)})


def damaged(path: Path, damage: str) -> None:
    content = path.read_bytes()
    if damage == "no metadata":
        save_file(load_file(path), path)
    elif damage == "not a shard":
        save_file({"weight": torch.ones(3)}, path, {"keys": "[]", "lengths": "[]"})
    elif damage == "one number":
        save_file({"data": torch.tensor(1.0)}, path, {"keys": '["a"]', "lengths": "[1]"})
    elif damage == "too few keys":
        path.write_bytes(content.replace(b'\\"b1\\", ', b"        "))
    elif damage == "wrong lengths":
        path.write_bytes(content.replace(b"[20, 20]", b"[20, 21]"))
    elif damage == "lengths of nothing":
        path.write_bytes(content.replace(b"[20, 20]", b"{     } "))
    elif damage == "zeros":
        path.write_bytes(bytes(len(content)))
    elif damage == "longer":
        path.write_bytes(content + b"x")
    else:
        path.write_bytes(content[: int(float(damage) * len(content))])
    assert path.read_bytes() != content


@pytest.mark.parametrize(
    "damage",
    [
        "0", "0.01", "0.1", "0.5", "0.9", "0.999", "longer", "zeros", "no metadata", "not a shard", "one number",
        "too few keys", "wrong lengths", "lengths of nothing",
    ],
)  # fmt: skip
def test_a_damaged_shard_is_named_left_out_and_made_again(tmp_path: Path, damage: str) -> None:
    good, bad = {"a": torch.randn(20, 4)}, {"b1": torch.randn(20, 4), "b2": torch.randn(20, 4)}
    shards = Shards(tmp_path)
    shards.add(good)
    (first,) = files(tmp_path)
    shards.add(bad)
    (broken,) = set(files(tmp_path)) - {first}
    damaged(broken, damage)
    with pytest.warns(UserWarning) as caught:
        shards = Shards(tmp_path)
        shards.refresh()
    (warning,) = caught
    assert str(broken) in str(warning.message) and "\n" not in str(warning.message)
    check(shards, good)
    assert shards.missing([*good, *bad]) == [*bad]
    shards.add({**good, **bad})
    check(shards, {**good, **bad})
    broken.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(Shards(tmp_path), {**good, **bad})


def test_a_folder_that_is_emptied_meanwhile_is_read_on(tmp_path: Path) -> None:
    """Who deletes a cache while a run has it open does not stop the run."""
    shards = Shards(tmp_path)
    shards.add({"a": torch.arange(5)})
    files(tmp_path)[0].unlink()
    shards.refresh()
    assert shards["a"].tolist() == [0, 1, 2, 3, 4]
    assert Shards(tmp_path).missing(["a"]) == ["a"]


def test_what_others_write_is_seen_after_a_refresh(tmp_path: Path) -> None:
    one, other = Shards(tmp_path), Shards(tmp_path)
    other.add({"a": torch.arange(3)})
    assert "a" not in one
    one.refresh()
    check(one, {"a": torch.arange(3)})
    other.add({"b": torch.arange(4)})
    one.add({"b": torch.arange(4), "c": torch.arange(5)})
    assert sum(len(load_file(path)["data"]) for path in files(tmp_path)) == 3 + 4 + 5, "b is not written twice"


@pytest.mark.parametrize("shard_bytes, shards_written", [(1, 10), (400, 10), (401, 5), (1200, 4), (10**9, 1)])
def test_a_writer_writes_as_soon_as_enough_has_gathered(tmp_path: Path, shard_bytes: int, shards_written: int) -> None:
    expected = {f"key {number}": torch.randn(25, 4) for number in range(10)}
    shards = Shards(tmp_path)
    with shards.writer(shard_bytes) as kept:
        for number, (key, tensor) in enumerate(expected.items(), 1):
            kept[key] = tensor
            assert len(shards) == len(Shards(tmp_path)) >= number - (shard_bytes - 1) // 400
    assert len(files(tmp_path)) == shards_written
    check(Shards(tmp_path), expected)


def test_a_writer_keeps_what_was_given_not_what_became_of_it(tmp_path: Path) -> None:
    buffer = torch.ones(3)
    with Shards(tmp_path).writer() as kept:
        kept["ones"] = buffer
        buffer.zero_()
    check(Shards(tmp_path), {"ones": torch.ones(3)})


@pytest.mark.parametrize("error", [GemoclapError("a bad clip"), KeyboardInterrupt()])
def test_interrupted_work_goes_on_where_it_was(tmp_path: Path, error: BaseException) -> None:
    keys = [f"key {number}" for number in range(10)]
    shards = Shards(tmp_path)
    with pytest.raises(type(error)), shards.writer(3 * 8) as kept:
        for number, key in enumerate(keys):
            if number == 5:
                raise error
            kept[key] = torch.tensor([number])
    assert shards.missing(keys) == Shards(tmp_path).missing(keys) == keys[5:]
    with shards.writer() as kept:
        for key in shards.missing(keys):
            kept[key] = torch.tensor([int(key[4:])])
    check(Shards(tmp_path), {key: torch.tensor([number]) for number, key in enumerate(keys)})


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes: writing fails in the middle, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing_and_says_where(tmp_path: Path) -> None:
    shards = Shards(tmp_path)
    shards.add({"a": torch.arange(10)})
    before = sorted(tmp_path.iterdir())
    with no_file_above(4096):
        with pytest.raises(GemoclapError) as caught:
            shards.add({"b": torch.arange(10_000)})
        # Leaving the writer's block does not try again, and so says what went wrong first.
        with pytest.raises(GemoclapError), shards.writer(100) as kept:
            kept["b"] = torch.arange(10_000)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: ") and "free space" in message and "\n" not in message
    assert sorted(tmp_path.iterdir()) == before
    assert shards.missing(["a", "b"]) == ["b"]
    shards.add({"b": torch.arange(10_000)})
    check(Shards(tmp_path), {"a": torch.arange(10), "b": torch.arange(10_000)})


def test_a_folder_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GemoclapError, match=f"^{tmp_path / 'file'}: "):
        Shards(tmp_path / "file").add({"a": torch.ones(1)})


def test_threads_read_and_write_at_once(tmp_path: Path) -> None:
    expected = {f"key {number}": torch.full((50 + number, 3), float(number)) for number in range(60)}
    shards, failures = Shards(tmp_path), []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(150):
                key = chance.choice([*expected])
                if key not in shards:
                    shards.add({key: expected[key]})
                item = shards[key]
                assert torch.equal(item, expected[key])
                item.fill_(-1.0)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    check(Shards(tmp_path), {key: expected[key] for key in expected if key in shards})


def write_numbers(folder: Path, numbers: range, barrier: Barrier, killed_at: int | None) -> None:
    """Write an item a number, four a shard; die while shard `killed_at` is written, and not yet renamed."""
    rename, shards_written = os.replace, 0

    def replace(*paths: Path) -> None:
        nonlocal shards_written
        shards_written += 1
        if shards_written == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(*paths)

    os.replace = replace
    shards = Shards(folder)
    barrier.wait(60)
    with shards.writer(4 * 100 * 4) as kept:
        for number in numbers:
            kept[str(number)] = torch.full((100,), float(number))


def test_processes_write_the_same_keys_at_once_and_one_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gemoclap.data.shards"])
    barrier = context.Barrier(4)
    work = ((range(40), None), (range(10, 50), None), (range(40), None), (range(100, 140), 6))
    processes = [context.Process(target=write_numbers, args=(tmp_path, part, barrier, kill)) for part, kill in work]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0, -signal.SIGKILL]
    assert len(list(tmp_path.glob(".*.partial"))) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shards = Shards(tmp_path)
    check(shards, {str(number): torch.full((100,), float(number)) for number in (*range(50), *range(100, 120))})
    assert shards.missing(map(str, range(100, 140))) == [*map(str, range(120, 140))]
