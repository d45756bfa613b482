"""The server's cache: what is kept, what makes room, and files that are not what they should be."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_users import SIZES, check, check_mask, key_of, picture_of, values_of

from slimsam_client import PromptError
from slimsam_client.contract import ID_IMAGE_KEY
from slimsam_client.results import image_key
from slimsam_client.serving.cache import file
from slimsam_client.serving.cache.errors import CacheError
from slimsam_client.serving.cache.identity import PictureKeys, from_id, new_mask_key, to_id
from slimsam_client.serving.cache.layout import (
    ENTRY,
    LOGITS_SHAPE,
    MASK_BYTES,
    PICTURE_BYTES,
    CacheSizes,
)
from slimsam_client.serving.cache.pictures import PictureCache
from slimsam_client.serving.cache.slots import Content, Slots

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Triton runs on Linux")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pictures"


@pytest.fixture
def cache(path: Path) -> Iterator[PictureCache]:
    cache = PictureCache(path, SIZES)
    yield cache
    cache.close()


def put(cache: PictureCache, *numbers: int) -> None:
    for number in numbers:
        assert cache.put_picture(key_of(number), picture_of(number, 1))


def put_mask(cache: PictureCache, picture: int, number: int) -> bool:
    return cache.put_mask(key_of(picture), key_of(number), values_of(number, 1, LOGITS_SHAPE))


def has(cache: PictureCache, *numbers: int) -> list[bool]:
    return [check(number, cache.get_picture(key_of(number))) for number in numbers]


def has_mask(cache: PictureCache, picture: int, number: int) -> bool:
    return check_mask(number, cache.get_mask(key_of(picture), key_of(number)))


def test_what_is_put_is_got_and_what_was_used_least_recently_makes_room(
    cache: PictureCache,
) -> None:
    assert has(cache, 0) == [False]
    put(cache, 0, 1, 2)
    assert has(cache, 0, 1, 2) == [True] * 3
    assert has(cache, 1) and cache.picture_size(key_of(0)) == (100, 1)  # 2 is the oldest now
    put(cache, 3)
    assert has(cache, 0, 1, 2, 3) == [True, True, False, True]
    counts = cache.picture_counts
    assert (counts.hits, counts.misses, counts.evictions) == (8, 2, 1)
    pictures, masks = cache.occupancy()
    assert (pictures.entries, pictures.slots, pictures.nbytes) == (3, 3, 3 * PICTURE_BYTES)
    assert (masks.entries, masks.nbytes, masks.oldest_age) == (0, 0, 0)
    assert cache.picture_size(key_of(2)) is None and counts.misses == 3


def test_a_use_by_one_process_is_known_to_all_others(cache: PictureCache, path: Path) -> None:
    """As slimsam_image puts what slimsam_click uses; each opens the file itself."""
    other = PictureCache(path, SIZES)
    put(cache, 0, 1)
    assert has(other, 0) == [True]
    put(other, 2)
    put(cache, 3)  # 1 is the oldest
    assert has(other, 0, 1, 2, 3) == [True, False, True, True]
    for number in (100, 101):
        assert put_mask(cache, 0, number)
    assert has_mask(other, 0, 100)
    for number in range(200, 200 + SIZES.masks - 1):
        assert put_mask(cache, 0, number)
    assert has_mask(other, 0, 100) and not has_mask(other, 0, 101)
    other.close()
    later = PictureCache(path, SIZES)
    put(later, 4)
    assert has(cache, 0, 2, 3, 4) == [False, True, True, True]
    later.close()


def test_a_picture_that_is_put_again_replaces_the_former(cache: PictureCache) -> None:
    put(cache, 0, 1)
    assert cache.put_picture(key_of(0), picture_of(0, 2))
    kept = cache.get_picture(key_of(0))
    assert kept is not None and kept.original_size == (100, 2)
    assert cache.occupancy()[0].entries == 2 and cache.picture_counts.evictions == 0
    kept.image_embeddings[:] = 0  # a copy
    assert has(cache, 0) == [True]


def test_a_mask_belongs_to_a_picture_that_is_there(cache: PictureCache) -> None:
    assert not put_mask(cache, 0, 100) and cache.mask_counts.unkept == 1
    put(cache, 0, 1)
    assert put_mask(cache, 0, 100) and put_mask(cache, 1, 101)
    assert has_mask(cache, 0, 100) and has_mask(cache, 1, 101)
    assert not has_mask(cache, 1, 100)
    put(cache, 2, 3, 4)  # a picture that comes back has its masks again
    assert has(cache, 0) == [False]
    put(cache, 0)
    assert has_mask(cache, 0, 100)
    for number in range(200, 200 + SIZES.masks):
        assert put_mask(cache, 0, number)
    assert not has_mask(cache, 0, 100) and cache.mask_counts.evictions == 2


def test_forgetting_erases_the_picture_and_its_masks(cache: PictureCache, path: Path) -> None:
    put(cache, 0, 1)
    assert put_mask(cache, 0, 100) and put_mask(cache, 0, 101) and put_mask(cache, 1, 102)
    traces = [
        picture_of(0, 1).image_embeddings.tobytes(),
        values_of(100, 1, LOGITS_SHAPE).tobytes(),
    ]
    assert all(trace[-4096:] in path.read_bytes() for trace in traces)
    assert cache.forget(key_of(0)) and not cache.forget(key_of(0))
    content = path.read_bytes()
    assert not any(trace[-4096:] in content for trace in traces) and key_of(0) not in content
    assert has(cache, 0, 1) == [False, True]
    assert not has_mask(cache, 0, 100) and not has_mask(cache, 0, 101) and has_mask(cache, 1, 102)
    assert (cache.picture_counts.forgotten, cache.mask_counts.forgotten) == (1, 2)
    assert not put_mask(cache, 0, 103)  # an answer that was under way


def test_what_is_too_old_is_erased(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = PictureCache(path, SIZES, max_age=60)
    start = time.time()

    def after(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: start + seconds)

    after(0)
    put(cache, 0, 1)
    assert put_mask(cache, 0, 100)
    after(59)
    assert has(cache, 0) == [True] and 58 < cache.occupancy()[0].oldest_age < 60
    put(cache, 1)
    after(70)
    assert has(cache, 0) == [False] and cache.picture_counts.expired == 1
    assert has_mask(cache, 0, 100) is False and has(cache, 1) == [True]
    after(150)
    cache.sweep()
    assert cache.picture_counts.expired == 2 and cache.occupancy()[0].entries == 0
    assert picture_of(1, 1).image_embeddings.tobytes()[-4096:] not in path.read_bytes()
    put(cache, 2)
    after(50)  # the machine's clock is put back by more than the greatest age
    assert has(cache, 2) == [False]
    assert PictureCache(path, SIZES, max_age=None).sweep() is None


@pytest.mark.parametrize("age", [0, -1, float("nan"), "60", True])
def test_ages_that_are_none(path: Path, age: Any) -> None:
    with pytest.raises(CacheError, match="max_age: expected seconds above 0, or None, got "):
        PictureCache(path, SIZES, age)


def test_a_file_outlives_its_process(cache: PictureCache, path: Path) -> None:
    put(cache, 0, 1)
    assert put_mask(cache, 1, 100)
    cache.close()
    again = PictureCache(path, SIZES)
    assert has(again, 0, 1, 2) == [True, True, False] and has_mask(again, 1, 100)
    put(again, 2, 3)
    assert has(again, 0, 1, 2, 3) == [False, True, True, True]
    assert path.stat().st_mode & 0o777 == 0o600
    again.close()
    again.close()


def damaged(change: Callable[[bytearray], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        change(content)
        path.unlink()
        path.touch(0o600)
        path.write_bytes(content)

    return damage


def flip(content: bytearray, at: int) -> None:
    content[at] ^= 1


OTHER_FILES: dict[str, Callable[[Path], Any]] = {
    "another version": damaged(lambda content: flip(content, 8)),
    "another magic number": damaged(lambda content: flip(content, 0)),
    "cut off": damaged(lambda content: content.__delitem__(slice(-4096, None))),
    "longer": damaged(lambda content: content.extend(bytes(4096))),
    "of zeros": damaged(lambda content: content.__setitem__(slice(None), bytes(len(content)))),
    "a line of text": damaged(lambda content: content.__setitem__(slice(None), b"cache\n")),
    "that others may write": lambda path: path.chmod(0o622),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_another_file_is_made_anew(name: str, cache: PictureCache, path: Path) -> None:
    put(cache, 0)
    OTHER_FILES[name](path)
    again = PictureCache(path, SIZES)
    assert has(again, 0) == [False]
    put(again, 1)
    assert has(again, 1) == [True] and path.stat().st_size == SIZES.nbytes
    assert has(cache, 0, 1) == [True, False]  # who has the former file goes on with it
    again.close()


def test_other_sizes_are_another_file(cache: PictureCache, path: Path) -> None:
    put(cache, 0)
    larger = PictureCache(path, CacheSizes(SIZES.pictures + 1, SIZES.masks))
    assert has(larger, 0) == [False]
    put(larger, 0, 1, 2, 3)
    assert has(larger, 0, 1, 2, 3) == [True] * 4
    larger.close()


def test_a_key_is_found_without_a_look_at_the_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All users wait for who looks, and the keys of one model's pictures begin alike."""
    cache = PictureCache(path, CacheSizes(pictures=16, masks=1))
    put(cache, *range(16))
    looked_at: list[int] = []
    is_valid = Slots.is_valid

    def counted(part: Slots, index: int) -> bool:
        looked_at.append(index)
        return is_valid(part, index)

    monkeypatch.setattr(Slots, "is_valid", counted)
    assert cache.picture_size(key_of(7)) is not None
    assert len(set(looked_at)) == 1
    looked_at.clear()
    assert cache.picture_size(key_of(16)) is None
    assert looked_at == []
    cache.close()


def test_damaged_contents_are_dropped(cache: PictureCache, path: Path) -> None:
    tables, slots = SIZES.tables_at, SIZES.slots_at
    places = {"an embedding": slots[0] + 12345}
    for name in ("sizes", "check", "created"):
        places[name] = tables[0] + SIZES.pictures * ENTRY.fields[name][1]
    for name, place in places.items():
        put(cache, 0)
        before = cache.picture_counts.damaged
        with path.open("r+b") as opened:
            opened.seek(place)
            byte = opened.read(1)[0]
            opened.seek(place)
            opened.write(bytes([byte ^ 1]))
        assert has(cache, 0) == [False], name
        assert cache.picture_counts.damaged == before + 1, name
    put(cache, 0)
    assert has(cache, 0) == [True]


def test_tables_of_nonsense_are_used_up(cache: PictureCache, path: Path) -> None:
    cache.close()
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    end = SIZES.tables_at[1] + SIZES.masks * ENTRY.itemsize
    for filling in (0xFF, 0x7F, 0x01):
        content[SIZES.tables_at[0] : end] = filling
        path.write_bytes(content.tobytes())
        with_nonsense = PictureCache(path, SIZES, max_age=60)
        put(with_nonsense, 0, 1, 2)
        assert has(with_nonsense, 0, 1, 2) == [True] * 3
        assert with_nonsense.occupancy()[0].entries == 3
        with_nonsense.close()


def test_a_slot_that_is_replaced_while_it_is_copied(
    cache: PictureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cache, 0, 1, 2)
    copy = Slots.copy

    def during(puts: Callable[[], Any], once: bool) -> Callable[..., Any]:
        def copied(part: Slots, index: int, entry: Any) -> Content | None:
            content = copy(part, index, entry)
            monkeypatch.setattr(Slots, "copy", copy) if once else None
            puts()
            return content

        return copied

    monkeypatch.setattr(Slots, "copy", during(lambda: put(cache, 3, 4, 5), True))
    assert has(cache, 0) == [False]
    monkeypatch.setattr(
        Slots, "copy", during(lambda: cache.put_picture(key_of(3), picture_of(3, 9)), True)
    )
    kept = cache.get_picture(key_of(3))
    assert check(3, kept) and kept is not None and kept.original_size[1] == 9
    put(cache, 4)
    monkeypatch.setattr(Slots, "copy", during(lambda: put(cache, 4), False))
    assert has(cache, 4) == [False]  # it gives up
    monkeypatch.setattr(Slots, "copy", copy)
    assert has(cache, 4) == [True] and cache.picture_counts.damaged == 0


def test_a_writer_that_is_overtaken(cache: PictureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Slots.write

    def overtaken(others: Callable[[], Any]) -> Callable[..., None]:
        def written(part: Slots, index: int, content: Content) -> None:
            monkeypatch.setattr(Slots, "write", write)
            others()
            write(part, index, content)

        return written

    # Its slot belongs to another picture by now, which it destroys; that shows.
    monkeypatch.setattr(Slots, "write", overtaken(lambda: put(cache, 1, 2, 3)))
    assert not cache.put_picture(key_of(0), picture_of(0, 1))
    assert sorted(has(cache, 0, 1, 2, 3)) == [False, False, True, True]
    assert (cache.picture_counts.unkept, cache.picture_counts.damaged) == (1, 1)
    # What is forgotten while it is written does not come back.
    put(cache, 3)
    monkeypatch.setattr(Slots, "write", overtaken(lambda: cache.forget(key_of(5))))
    assert not cache.put_picture(key_of(5), picture_of(5, 1)) and has(cache, 5) == [False]
    monkeypatch.setattr(Slots, "write", overtaken(lambda: cache.forget(key_of(3))))
    assert not put_mask(cache, 3, 103)
    put(cache, 3)
    assert not has_mask(cache, 3, 103)


def test_threads_share_a_cache(cache: PictureCache) -> None:
    failures: list[BaseException] = []

    def use(seed: int) -> None:
        try:
            for step in range(60):
                number = (seed + step) % 5
                check(number, cache.get_picture(key_of(number)))
                cache.put_picture(key_of(number), picture_of(number, seed))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = cache.picture_counts
    assert not failures and counts.hits + counts.misses == 240


def test_keys_and_arrays_that_are_none(cache: PictureCache) -> None:
    with pytest.raises(ValueError, match="key: expected 32 bytes, got b'0'"):
        cache.get_picture(b"0")
    with pytest.raises(ValueError, match=r"expected \(256, 64, 64\) float16, got \(1,\) float16"):
        cache.put_picture(key_of(0), picture_of(0, 1)._replace(image_embeddings=np.ones(1, "f2")))
    with pytest.raises(ValueError, match=r"expected \(256, 256\) float16, got .* float32"):
        cache.put_mask(key_of(0), key_of(1), np.zeros(LOGITS_SHAPE, np.float32))  # type: ignore


@pytest.mark.parametrize("nbytes", [3_200_000, 2**22, 2**28, 10**9 + 7])
def test_the_file_is_within_its_cap(nbytes: int) -> None:
    sizes = CacheSizes.within(nbytes)
    one_more = CacheSizes(sizes.pictures + 1, sizes.masks + 8)
    assert sizes.nbytes <= nbytes < one_more.nbytes + 3 * 4096
    assert sizes.masks * MASK_BYTES < 0.34 * nbytes


@pytest.mark.parametrize("nbytes", [-1, 0, PICTURE_BYTES])
def test_caps_that_hold_no_picture(nbytes: int) -> None:
    with pytest.raises(CacheError, match=r"at least 3,1\d\d,\d\d\d bytes, .* one picture, got"):
        CacheSizes.within(nbytes)
    with pytest.raises(CacheError, match="room for a picture and a mask"):
        CacheSizes(0, 1)


def test_a_filesystem_without_room(tmp_path: Path) -> None:
    path = tmp_path / "pictures"
    whole = os.statvfs(tmp_path)
    sizes = CacheSizes.within(2 * whole.f_blocks * whole.f_frsize)
    with pytest.raises(CacheError, match=r"--shm-size.*or the cache smaller") as caught:
        PictureCache(path, sizes)
    assert f"expected {sizes.nbytes:,} bytes on the filesystem of" in str(caught.value)
    assert not path.exists()


def test_a_filesystem_that_fills_up_while_room_is_made(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(CacheError, match="No space left on device"):
            PictureCache(path, SIZES)
    assert not path.exists()
    PictureCache(path, SIZES).close()


SMALL_FILESYSTEM = """
mount -t tmpfs -o size=8m tmpfs "$1" && cd "$1" && head -c 4m /dev/zero > other || exit 99
exec "$2" -c '
from slimsam_client.serving.cache.layout import CacheSizes
from slimsam_client.serving.cache.pictures import PictureCache
try:
    PictureCache("pictures", CacheSizes(2, 2))
except ValueError as error:
    print(error)
PictureCache("pictures", CacheSizes(1, 2))
print("and a smaller one is made")
'
"""


def test_a_small_filesystem_that_is_shared_with_others(tmp_path: Path) -> None:
    command = ["unshare", "-rm", "bash", "-c", SMALL_FILESYSTEM, "bash", tmp_path, sys.executable]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("this system has no unshare")
    if done.returncode in (1, 99) and not done.stdout:
        pytest.skip(f"this system mounts nothing for users: {done.stderr}")
    assert done.returncode == 0, done.stderr
    said, then = done.stdout.splitlines()
    assert "expected 4,464,640 bytes on the filesystem of pictures, got 4,19" in said
    assert then == "and a smaller one is made"


def test_places_where_there_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for place, said in (
        (tmp_path / "missing" / "pictures", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / "link", "Too many levels of symbolic links"),
        (tmp_path / "pipe", "expected a file of this user at .*, got one of user .*, mode p"),
    ):
        with pytest.raises(CacheError, match=said):
            PictureCache(place, SIZES)


def test_a_file_of_somebody_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"x")
    monkeypatch.setattr(file.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(CacheError, match="expected a file of this user"):
        PictureCache(path, SIZES)
    assert path.read_bytes() == b"x"


def test_keys_of_pictures() -> None:
    content = b"a picture"
    makers = [
        PictureKeys("digest"),
        PictureKeys("another digest"),
        PictureKeys("digest", b"tenant"),
        PictureKeys("digest", b"another tenant"),
        PictureKeys("digest", b""),
    ]
    keys = [
        maker.key_of(*arguments)
        for maker in makers
        for arguments in (
            (content,),
            (content + b"\0",),
            (content, (40, 60)),
            (content, (4, 60)),
            (content, (60, 40)),
            (b"(60, 40)",),
        )
    ]
    assert len(set(keys)) == len(keys) and {len(key) for key in keys} == {32}
    assert keys[0] == PictureKeys("digest").key_of(bytearray(content))
    # What requests on a picture have in common can be told by its id, whoever made it.
    for maker in makers:
        for size in (None, (40, 60)):
            assert to_id(maker.key_of(content, size))[ID_IMAGE_KEY] == image_key(content)
    assert new_mask_key() != new_mask_key()
    assert from_id(to_id(keys[0]), "image_id") == from_id(keys[0].hex().encode(), "") == keys[0]


@pytest.mark.parametrize(
    "value", [b"", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 64 + "\n", b"\xff" * 64, 7, None]
)
def test_ids_that_are_none(value: Any) -> None:
    with pytest.raises(PromptError, match="image_id: expected an id as the server gave it, 64 hex"):
        from_id(value, "image_id")
