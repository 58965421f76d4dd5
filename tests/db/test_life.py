"""Random lives of two folders: whatever a person does to the files between runs, the library tells what is there, and loses nothing."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from blake3 import blake3
from diffusion_toolkit import db
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
from diffusion_toolkit.nodes.indexing import former_places
from diffusion_toolkit.nodes.indexing.index_store import FolderStore
from diffusion_toolkit.nodes.library import status_report, upkeep
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ROOTS = ("output", "photos")
FOLDERS = ("", "x", "x/y")
STAYS = "stays.png"  # in each root: an empty one may be a drive that is away
roots, folders = st.sampled_from(ROOTS), st.sampled_from(FOLDERS)
places = st.builds(Path, roots, folders, st.sampled_from(["a.png", "b.png"]))
labels = st.sampled_from(["", "spring", "summer", "autumn"])
numbers = st.integers(0, 11)
some = st.integers(0, 99)  # which of those that there are


def picture(number: int) -> bytes:
    """In a colour of its own, by a prompt that another has, too."""
    info, file = PngInfo(), io.BytesIO()
    info.add_text("parameters", f"subject {number // 2}\nNegative prompt: fog\nSteps: 9, Seed: {number}")
    Image.new("RGB", (8, 8), (18 * number, 255 - 18 * number, 90)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


PICTURES = [picture(number) for number in range(14)]  # six are there from the beginning, and the last two stay
NUMBERS = {blake3(data).digest(): number for number, data in enumerate(PICTURES)}


def number_of(file: Path) -> int | None:
    """Which picture lies there; None where it is none of them."""
    return NUMBERS.get(blake3(file.read_bytes()).digest()) if file.is_file() else None


def vector_of(pixels: np.ndarray) -> np.ndarray:
    return pixels.mean(axis=(0, 1), dtype=np.float32) + 1


class Cancelled(BaseException):
    """As ComfyUI's InterruptProcessingException."""


class Vision:
    """Vectors by colour, of so many pictures: then the person cancels."""

    name = fingerprint = weights = "vision"
    dims = 3

    def __init__(self, pictures: int) -> None:
        self.left = pictures

    def encode(self, pictures: list[np.ndarray]) -> np.ndarray:
        self.left -= len(pictures)
        if self.left < 0:
            raise Cancelled
        return np.stack([vector_of(pixels) for pixels in pictures])


def reader() -> SimpleNamespace:
    def encode_texts(texts: list[str]) -> np.ndarray:
        return np.array([list(blake3(text.encode()).digest()[:4]) for text in texts], np.float32)

    return SimpleNamespace(name="reader", fingerprint="reader", dims=4, encode_texts=encode_texts)


class Life(RuleBasedStateMachine):
    """Knows what lies on the disk, and what was said of each picture, by its number: labels, and a rating."""

    def __init__(self, library: db.Library, base: Path) -> None:
        super().__init__()
        self.library, self.base = library, base
        self.said: dict[int, tuple[frozenset[str], int | None]] = {}
        begin = ["output/a.png", "output/x/a.png", "output/x/y/a.png", "photos/a.png", "photos/x/b.png", "photos/x/y/b.png"]
        for place, number in [*zip(begin, range(6)), ("output/stays.png", 12), ("photos/stays.png", 13)]:
            self.ready(Path(place)).write_bytes(PICTURES[number])
        self.index_all("")

    def files(self) -> list[Path]:
        return sorted(file for file in self.base.rglob("*.png") if file.name != STAYS)

    def one(self, which: int) -> Path:
        files = self.files()
        return files[which % len(files)]

    def tidy(self) -> None:
        """An empty folder may be one that a drive is away from: what was in it is doubtful. This person leaves none."""
        for folder in sorted((folder for folder in self.base.rglob("*") if folder.is_dir()), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()

    def ready(self, place: Path) -> Path:
        (self.base / place).parent.mkdir(parents=True, exist_ok=True)
        return self.base / place

    @rule(place=places, number=numbers)
    def save(self, place: Path, number: int) -> None:
        self.ready(place).write_bytes(PICTURES[number])

    @precondition(files)
    @rule(which=some, number=numbers)
    def replace(self, which: int, number: int) -> None:
        self.one(which).write_bytes(PICTURES[number])

    @precondition(files)
    @rule(which=some, place=places)
    def move(self, which: int, place: Path) -> None:
        self.one(which).replace(self.ready(place))

    @precondition(files)
    @rule(which=some, place=places, with_times=st.booleans())
    def copy(self, which: int, place: Path, with_times: bool) -> None:
        if (file := self.one(which)) != self.ready(place):
            (shutil.copy2 if with_times else shutil.copyfile)(file, self.base / place)

    @precondition(files)
    @rule(which=some)
    def touch(self, which: int) -> None:
        self.one(which).touch()

    @precondition(files)
    @rule(which=some)
    def damage(self, which: int) -> None:
        self.one(which).write_bytes(b"no picture")

    @precondition(files)
    @rule(which=some)
    def delete(self, which: int) -> None:
        self.one(which).unlink()

    @rule(root=roots, folder=folders, to_root=roots, name=st.sampled_from(["x", "x/z", "z"]))
    def move_folder(self, root: str, folder: str, to_root: str, name: str) -> None:
        source, target = self.base / root / folder, self.base / to_root / name
        if folder and source.is_dir() and not target.exists() and source not in target.parents:
            source.rename(self.ready(target))

    @rule(root=roots, subfolder=st.sampled_from(["", "x"]), pictures=st.sampled_from([1, 99]), label=labels)
    def index(self, root: str, subfolder: str, pictures: int, label: str) -> None:
        self.tidy()
        place = self.base / root
        if not (place / subfolder).is_dir():
            return
        before, encoders = self.rows(), Encoders(image=Vision(pictures), text=reader())
        there = {file.relative_to(place).as_posix(): number_of(file) for file in (place / subfolder).rglob("*.png")}
        with FolderStore(self.library, root, place, subfolder, encoders, [label]) as store:
            try:
                report = index_folder(place, Scan(place, subfolder), store, encoders)
            except Cancelled:
                self.broken_off(before, set(there.values()), label)
                return
        assert report.skipped.total == list(there.values()).count(None)
        rows = {path: row for (of, path), row in self.rows().items() if of == root and path.startswith(f"{subfolder}/" if subfolder else "")}
        for path, number in there.items():
            if number is not None:
                assert rows.pop(path) == (number, False)
                self.say(number, label)
        sound = {number for number in there.values() if number is not None}
        assert not (report.all_gone and any(of == root and path in there for of, path in before))  # else the drive may be away
        assert report.all_gone or all(gone == (path not in there) for path, (_, gone) in rows.items())
        self.found_by_vectors(sound)

    @rule(place=places, number=numbers, label=labels)
    def index_and_cancel(self, place: Path, number: int, label: str) -> None:
        self.save(place, number)
        self.index(place.parts[0], "", 0, label)

    def broken_off(self, before: dict[tuple[str, str], tuple[int, bool]], there: set[int | None], label: str) -> None:
        """Of each file the library knows what it knew, or what is so; only what lies there has got the label."""
        rows = self.rows()
        assert before.keys() <= rows.keys()
        for place, row in rows.items():
            file = self.base.joinpath(*place)
            assert row == before.get(place) or row in ((number_of(file), False), (row[0], not file.is_file()))
        with self.library.connection() as conn:
            labelled = {number for number, image in self.images(conn).items() if label in image.labels}
        for number in labelled & there:
            self.say(number, label)

    @rule(label=labels)
    def index_all(self, label: str) -> None:
        for root in ROOTS:
            self.index(root, "", 99, label)

    @rule(which=some, label=st.sampled_from(["good", "draft"]), rating=st.sampled_from([None, -1, 5]))
    def label(self, which: int, label: str, rating: int | None) -> None:
        with self.library.connection() as conn:
            if images := self.images(conn):
                number = sorted(images)[which % len(images)]
                db.label_images(conn, [images[number].id], add=[label], rating=rating)
                self.say(number, label, rating)

    @rule(action=st.sampled_from([upkeep.PRUNE, upkeep.REPAIR, upkeep.VERIFY]))
    def attend(self, action: str) -> None:
        self.tidy()
        before = self.rows()
        found, _ = upkeep.attend(self.library, action, True, False, True, lambda *told: None)
        rows = self.rows()
        gone = {place for place in before if not self.base.joinpath(*place).is_file()}
        assert found.loose == db.LooseEnds(0, 0, 0) or action != upkeep.PRUNE
        if action == upkeep.PRUNE:
            assert rows == {place: (number, False) for place, (number, _) in before.items() if place not in gone}
            stay = {number for number, _ in rows.values()}
            self.said = {number: said for number, said in self.said.items() if number in stay}
            with self.library.connection() as conn:
                assert set(self.images(conn)) == stay
        else:
            assert gone == {(name, path) for name, _, presence in found.files for path in presence.gone}
            assert rows == (before if action == upkeep.VERIFY else {place: (number, place in gone) for place, (number, _) in before.items()})

    @invariant()
    def every_image_tells_its_prompt_and_what_was_said_of_it(self) -> None:
        with self.library.connection() as conn:
            images = self.images(conn)
        assert self.said.keys() <= images.keys()
        for number, image in images.items():
            assert (image.prompt, image.negative, image.seed) == (f"subject {number // 2}", "fog", number)
            assert (frozenset(image.labels), image.rating) == self.said.get(number, (frozenset(), None))

    def found_by_vectors(self, numbers: set[int]) -> None:
        with self.library.connection() as conn:
            images = self.images(conn)
            for number in numbers:
                with Image.open(io.BytesIO(PICTURES[number])) as opened:
                    vector = vector_of(np.asarray(opened))
                [hit] = db.search(conn, db.Question(parts=(db.Part("image", vector),), k=1)).hits
                assert hit.image_id == images[number].id and hit.score > 0.9999
                alike = db.search(conn, db.Question(parts=(db.Part("prompt", reader().encode_texts([f"subject {number // 2}"])[0]),), k=20)).hits
                assert images[number].id in [hit.image_id for hit in alike if hit.score > 0.9999]

    def say(self, number: int, label: str, rating: int | None = None) -> None:
        labels, rated = self.said.get(number, (frozenset(), None))
        self.said[number] = (labels | ({label} if label else set()), rated if rating is None else rating)

    def rows(self) -> dict[tuple[str, str], tuple[int, bool]]:
        """Which picture the library knows to lie where, and whether that is marked as gone."""
        statement = "SELECT r.name, p.path, i.hash, p.missing IS NOT NULL FROM paths p JOIN roots r ON r.id = p.root_id JOIN images i ON i.id = p.image_id"
        with self.library.connection() as conn:
            return {(root, path): (NUMBERS[found], gone) for root, path, found, gone in conn.execute(statement)}

    def images(self, conn: db.Connection) -> dict[int, db.StoredImage]:
        ids = [id_ for (id_,) in conn.execute("SELECT id FROM images")]
        return {NUMBERS[image.hash]: image for image in db.get_images(conn, ids)} if ids else {}


def test_a_library_tells_what_is_there_whatever_happens_to_the_files(new_database, template, tmp_path, monkeypatch):
    def begin() -> Life:
        monkeypatch.setenv("DIFFUSION_TOOLKIT_DSN", new_database(template))
        base = Path(tempfile.mkdtemp(dir=tmp_path))
        for module in (upkeep, status_report, former_places):
            monkeypatch.setattr(module, "roots", lambda: {root: base / root for root in ROOTS})
        return Life(db.open_library("default", tmp_path), base)

    monkeypatch.setattr(status_report, "config_file", lambda: tmp_path / "config.json")
    monkeypatch.setattr(status_report, "toolkit_directory", lambda: tmp_path)
    how = settings(max_examples=12, stateful_step_count=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(begin, settings=settings(how, phases=[Phase.generate]))  # a shorter life that fails would take minutes to find
