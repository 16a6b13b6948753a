"""The installed package: what it draws is what the program draws, what goes wrong is said as Python says it, Ctrl-C works.

Run by `python/check.sh`, in an environment where nothing but the wheel is.
"""

import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import numpy as np

import fewstep

HERE = pathlib.Path(__file__).parent


def tool(*arguments, folder):
    """What the program of the package prints."""
    done = subprocess.run([fewstep.program(), *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def idx(folder):
    """Gradients in two directions and a chequerboard of 8 x 8."""
    folder.mkdir()
    pixels, labels = bytearray(), bytearray()
    for i in range(120):
        labels.append(i % 3)
        for y in range(8):
            for x in range(8):
                base = (y * 30, x * 30, (x + y) % 2 * 220)[i % 3]
                pixels.append(base + (i * 7 + (8 * y + x) * 13) % 30)
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, 120, 8, 8) + pixels)
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 120) + labels)


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        idx(cls.folder / "data")
        tool("train", str(HERE / "teacher.toml"), "--data", "data", "--out", "run", folder=cls.folder)
        cls.file = cls.folder / "run" / "teacher.safetensors"
        (cls.folder / "several.toml").write_text(
            'kind = "distillation"\ntrajectories = 32\nbatch = 8\nsteps = 4\nvariable-steps = [3, 6]\nlearning-rate = 5e-4\n'
        )
        tool("distill", "several.toml", "--teacher", str(cls.file), "--out", "several", folder=cls.folder)
        cls.student = cls.folder / "several" / "student.safetensors"
        cls.model = fewstep.load(cls.file)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def test_versions_agree(self):
        said = tool("--version", folder=self.folder).split()
        self.assertEqual(said, ["fewstep", fewstep.__version__])
        self.assertEqual(pathlib.Path(fewstep.program()).parent, pathlib.Path(sys.executable).parent)

    def test_the_same_pixels_as_the_program(self):
        for file, arguments, options in [
            (self.file, [], {}),
            (self.file, ["--class", "2"], {"labels": 2}),
            (self.file, ["--noise", "torch-cpu"], {"noise": "torch-cpu"}),
            (self.file, ["--guidance", "2"], {"guidance": 2.0}),
            (self.file, ["--solver", "ipndm:2", "--steps", "5"], {"sampling": {"solver": {"kind": "ipndm", "order": 2}, "steps": 5}}),
            (self.student, ["--nfe", "4"], {"nfe": 4}),
        ]:
            out = self.folder / "images"
            tool("sample", str(file), "--seeds", "0-4,9", "--out", str(out), *arguments, folder=self.folder)
            ours = fewstep.pixels(fewstep.sample(file, seeds=[0, 1, 2, 3, 4, 9], **options))
            self.assertEqual(ours.shape, (6, 8, 8, 1))
            for picture, seed in zip(ours, [0, 1, 2, 3, 4, 9]):
                theirs = png(out / f"{seed:06}.png")
                self.assertEqual(theirs.tolist(), picture[:, :, 0].tolist(), f"{arguments}, seed {seed}")
            for left in out.iterdir():
                left.unlink()

    def test_an_image_depends_on_its_seed_and_its_label(self):
        together = self.model.sample([5, 6, 7, 8], labels=[2, 0, 2, 1])
        for i, (seed, label) in enumerate(zip([5, 6, 7, 8], [2, 0, 2, 1])):
            alone = self.model.sample(seed, labels=label, batch=1)
            np.testing.assert_allclose(together[i], alone[0], atol=1e-5)
        self.assertGreater(np.abs(together[0] - self.model.sample(5, labels=1)[0]).max(), 1e-2)
        named = self.model.sample([5], labels=["2"])
        np.testing.assert_array_equal(named, self.model.sample([5], labels=2))

    def test_denoise_is_what_sampling_asks(self):
        # Euler by hand: x + (s' - s) (x - D(x; s)) / s, down to the last level.
        levels = [80.0, 10.0, 1.0, 0.1]
        settings = {
            "solver": {"kind": "euler"},
            "steps": 3,
            "spacing": {"kind": "levels", "levels": levels, "spacing": {"kind": "polynomial", "rho": 7.0}},
            "sigma-max": 80.0,
            "sigma-min": 0.1,
            "analytic-first-step": False,
        }
        drawn = self.model.sample([3, 4], labels=[1, 2], sampling=settings, batch=2)
        x = self.noise([3, 4], settings)
        for here, there in zip(levels, levels[1:]):
            clean = self.model.denoise(x, here, labels=[1, 2])
            x = x + (there - here) * (x - clean) / here
        np.testing.assert_allclose(x, drawn, atol=2e-3)

    def noise(self, seeds, settings):
        """Where seeds start, from where one step of Euler's takes them: x + (s - 80) d for two s."""
        at = {}
        for end in (40.0, 60.0):
            spacing = {**settings["spacing"], "levels": [80.0, end]}
            one = {**settings, "steps": 1, "sigma-min": end, "spacing": spacing}
            at[end] = self.model.sample(seeds, labels=[1, 2], sampling=one).astype(np.float64)
        slope = (at[60.0] - at[40.0]) / 20
        return at[40.0] + 40 * slope

    def test_arrays_are_what_numpy_expects(self):
        images = self.model.sample(range(3))
        self.assertEqual((images.dtype, images.shape), (np.float32, (3, 1, 8, 8)))
        self.assertTrue(images.flags.writeable and images.flags.c_contiguous)
        images += 1
        x = np.zeros((2, 8, 8, 1)).transpose(0, 3, 1, 2)
        self.assertEqual(self.model.denoise(x, 1).shape, (2, 1, 8, 8))
        self.assertEqual(self.model.shape, (1, 8, 8))
        self.assertEqual((self.model.classes, self.model.latent, len(self.model.hash)), (3, False, 64))
        self.assertIn("teacher, 1 x 8 x 8", repr(self.model))
        student = fewstep.load(self.student)
        self.assertEqual([student.evaluations(nfe) for nfe in (2, 5)], [2, 5])
        self.assertEqual(student.card["sampling"]["steps"], 4)

    def test_what_is_wrong_is_said_in_a_line(self):
        x = np.zeros((1, 1, 8, 8))
        for call, kind, word in [
            (lambda: fewstep.load("nowhere.safetensors"), FileNotFoundError, "nowhere.safetensors"),
            (lambda: fewstep.load(HERE / "teacher.toml"), ValueError, "teacher.toml"),
            (lambda: self.model.sample([]), ValueError, "at least 1"),
            (lambda: self.model.sample([], labels=[]), ValueError, "at least 1"),
            (lambda: self.model.sample(0, labels=3), ValueError, "`class` is 3"),
            (lambda: self.model.sample(0, labels="boot"), ValueError, "boot"),
            (lambda: self.model.sample([0, 1], labels=[1]), ValueError, "1 labels for 2 seeds"),
            (lambda: self.model.sample(-1), OverflowError, ""),
            (lambda: self.model.sample(0, nfe=0), ValueError, ""),
            (lambda: self.model.sample(0, batch=0), ValueError, "`batch` is 0"),
            (lambda: self.model.sample(0, noise="theirs"), ValueError, "torch-cuda"),
            (lambda: self.model.sample(0, sampling={"solver": {"kind": "magic"}}), ValueError, "magic"),
            (lambda: self.model.sample(0, sampling={"stepps": 3}), ValueError, "stepps"),
            (lambda: self.model.sample(0, prompts="a cat"), ValueError, ""),
            (lambda: self.model.denoise(x[0], 1.0), ValueError, "must be [images, channels, height, width]"),
            (lambda: self.model.denoise(np.zeros((1, 3, 8, 8)), 1.0), ValueError, "`shape`"),
            (lambda: self.model.denoise(x, 0.0), ValueError, "`sigma` is 0"),
            (lambda: self.model.denoise(x, 1.0, labels=[0, 1]), ValueError, ""),
            (lambda: self.model.denoise(np.full((1, 1, 8, 8), np.nan), 1.0), ValueError, "finite"),
            (lambda: fewstep.pixels(x * np.nan), ValueError, "finite"),
            (lambda: fewstep.nothing, AttributeError, "nothing"),
        ]:
            with self.subTest(word=word, kind=kind.__name__), self.assertRaises(kind) as caught:
                call()
            said = str(caught.exception)
            self.assertIn(word, said)
            self.assertEqual(len(said.splitlines()), 1, said)

    def test_progress_is_told_and_may_end_it(self):
        heard = []
        self.model.sample(range(6), labels=[0, 1, 0, 1, 0, 1], batch=1, progress=lambda *now: heard.append(now))
        calls = 6 * self.model.evaluations()
        self.assertEqual(heard[-1], (calls, calls))
        self.assertEqual(heard, sorted(heard))

        def enough(done, of):
            raise LookupError("enough")

        with self.assertRaises(LookupError):
            self.model.sample(range(100_000), progress=enough)

    def test_another_thread_works_meanwhile(self):
        ticks = []
        ended = threading.Event()

        def count():
            while not ended.is_set():
                ticks.append(time.monotonic())
                time.sleep(0.005)

        other = threading.Thread(target=count)
        other.start()
        begun = time.monotonic()
        self.model.sample(range(1500), batch=50)
        took = time.monotonic() - begun
        ended.set()
        other.join()
        # One that held the interpreter would have left a gap as long as the work.
        gaps = np.diff(ticks)
        self.assertLess(gaps.max(), max(0.5 * took, 0.2), f"{took} s")

    @unittest.skipIf(os.name == "nt", "signals")
    def test_ctrl_c_ends_it(self):
        code = (
            "import fewstep, sys\n"
            f"model = fewstep.load({str(self.file)!r})\n"
            "told = lambda done, of: (sys.stdout.write('.'), sys.stdout.flush())\n"
            "try:\n"
            "    model.sample(range(10**6), progress=told)\n"
            "except KeyboardInterrupt:\n"
            "    print('left', fewstep.sample(model, 1).shape)\n"
        )
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        self.assertEqual(child.stdout.read(1), ".")
        begun = time.monotonic()
        child.send_signal(signal.SIGINT)
        said, _ = child.communicate(timeout=60)
        self.assertLess(time.monotonic() - begun, 20)
        self.assertIn("left (1, 1, 8, 8)", said)
        self.assertEqual(child.returncode, 0)

    def test_diffusers_is_not_needed_but_for_its_scheduler(self):
        code = "import sys, fewstep; sys.exit('diffusers' in sys.modules or 'torch' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", code]).returncode, 0)
        self.assertIn("FewStepScheduler", fewstep.__all__)
        try:
            import diffusers  # noqa: F401
        except ImportError:
            with self.assertRaises(ImportError):
                fewstep.FewStepScheduler
        else:
            self.assertEqual(fewstep.FewStepScheduler.__name__, "FewStepScheduler")


def png(path):
    """The pixels of a grey PNG of eight bits."""
    import zlib

    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        chunk = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", chunk[:10])
            assert (depth, colour) == (8, 0), (depth, colour)
        if kind == b"IDAT":
            packed += chunk
        at += 12 + length
    raw = zlib.decompress(packed)
    rows, above = [], [0] * width
    for y in range(height):
        kind, *row = raw[y * (width + 1) : (y + 1) * (width + 1)]
        for x in range(width):
            left, up, corner = (row[x - 1] if x else 0), above[x], (above[x - 1] if x else 0)
            guess = left + up - corner
            nearest = min((left, up, corner), key=lambda near: abs(guess - near))
            row[x] = (row[x] + (0, left, up, (left + up) // 2, nearest)[kind]) % 256
        rows.append(row)
        above = row
    return np.array(rows, np.uint8)


if __name__ == "__main__":
    unittest.main()
