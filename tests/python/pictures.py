"""Makes random data sets of pictures, and what Pillow reads of them.

Usage: python3 tests/python/pictures.py FOLDER SEED COUNT

Writes COUNT folders and zip archives into FOLDER, and cases.json, which says of each what is to be read: pixels as
`ImageOps.exif_transpose(Image.open(file))` shows them, laid on the background, grey or in colour, and centred on black;
classes; what is left out. Differences that are meant stand in docs/pictures.md and are made here, too: 16 bits keep the
upper 8. Exit status 77, and a message, where Pillow is not installed.
"""

import io
import json
import pathlib
import random
import sys
import zipfile

try:
    from PIL import Image, ImageOps
except ImportError:
    print("skipped: Pillow is not installed")
    sys.exit(77)

Image.init()
CHANNELS = {"1": 1, "L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}


def content(rng, mode, width, height, smooth):
    """A picture of random pixels, or of a random smooth surface."""
    if mode == "P":
        return content(rng, "RGB", width, height, True).quantize(rng.choice([2, 5, 16, 200]))
    if mode == "I;16":
        return Image.frombytes("I;16", (width, height), rng.randbytes(2 * width * height))
    if mode == "1":
        return content(rng, "L", width, height, True).convert("1")
    count = CHANNELS[mode]
    if not smooth:
        return Image.frombytes(mode, (width, height), rng.randbytes(count * width * height))
    small = (max(2, width // 6), max(2, height // 6))
    bands = [Image.frombytes("L", small, rng.randbytes(small[0] * small[1])) for _ in range(count)]
    bands = [band.resize((width, height), Image.Resampling.BICUBIC) for band in bands]
    return bands[0] if count == 1 else Image.merge(mode, bands)


def exif(rng):
    """A block of EXIF with an orientation, most of the time one that turns."""
    tags = Image.Exif()
    tags[0x0112] = rng.choice([1, 2, 3, 4, 5, 6, 7, 8])
    return tags.tobytes()


def picture(rng, most):
    """The bytes of a random file, its ending, and by how much a decoder may differ."""
    width, height = rng.randint(5, most), rng.randint(5, most)
    formats = ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "QOI"]
    format = rng.choice([name for name in formats if name in Image.SAVE])
    modes = {
        "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
        "JPEG": ["L", "RGB", "RGB", "CMYK"],
        "GIF": ["L", "P"],
        "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"],
        "WEBP": ["RGB", "RGBA"],
        "BMP": ["1", "L", "P", "RGB"],
        "PPM": ["1", "L", "RGB"],
        "QOI": ["RGB", "RGBA"],
    }
    mode = rng.choice(modes[format])
    how, tolerance = {}, 0
    if format in ("PNG", "JPEG", "WEBP", "TIFF") and rng.random() < 0.5:
        how["exif"] = exif(rng)
    if format == "JPEG":
        how.update(quality=rng.randint(60, 100), progressive=rng.random() < 0.3)
        if mode == "RGB":
            how["subsampling"] = rng.choice([0, 1, 2])
        tolerance = 6
    if format == "WEBP":
        how["lossless"] = rng.random() < 0.6
        tolerance = 0 if how["lossless"] else 3
        how["exact"] = True
    if format == "TIFF":
        methods = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]
        methods += ["group4"] if mode == "1" else ["jpeg"] if mode in ("L", "RGB") else []
        how["compression"] = rng.choice(methods)
        tolerance = 6 if how["compression"] == "jpeg" else 0
    image = content(rng, mode, width, height, tolerance > 0)
    if format in ("PNG", "GIF") and mode == "P" and rng.random() < 0.5:
        how["transparency"] = 0
    if format == "PNG" and mode in ("L", "RGB") and rng.random() < 0.3:
        how["transparency"] = image.getpixel((0, 0))
    if format in ("GIF", "TIFF", "PNG", "WEBP") and rng.random() < 0.2 and "transparency" not in how:
        how.update(save_all=True, append_images=[content(rng, mode, width, height, True)])
    out = io.BytesIO()
    image.save(out, format, **how)
    endings = {
        "PNG": ["png", "PNG"],
        "JPEG": ["jpg", "jpeg", "jfif", "JPG", "jpe"],
        "GIF": ["gif"],
        "TIFF": ["tif", "tiff"],
        "WEBP": ["webp"],
        "BMP": ["bmp", "dib"],
        "PPM": ["ppm", "pgm", "pnm"],
        "QOI": ["qoi"],
    }
    # Names lie.
    ending = rng.choice(endings[format] * 4 + ["png", "jpg", "dat", ""])
    return out.getvalue(), ending, tolerance


def read(data, channels, background):
    """What Pillow shows, and whether it was transparent, turned, and one of several frames."""
    image = Image.open(io.BytesIO(data))
    turned = image.getexif().get(0x0112, 1) in range(2, 9)
    opened = image
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        # The upper bytes; Pillow itself cuts off what is above 255.
        words = image.tobytes()
        image = Image.frombytes("L", image.size, words[0::2] if image.mode == "I;16B" else words[1::2])
    moving = getattr(opened, "n_frames", 1) > 1
    transparent = False
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        transparent = image.getchannel("A").getextrema()[0] < 255
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image)
    image = image.convert("RGB")
    if channels == 1:
        image = image.convert("L")
    return image, transparent, turned, moving


def is_read(data):
    try:
        read(data, 1, (0, 0, 0))
        return True
    except Exception:
        return False


def pixels(image, channels, size):
    """Centred on black, channels first, as hexadecimal digits."""
    page = Image.new(image.mode, (size, size))
    page.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    bands = page.split()
    return b"".join(band.tobytes() for band in bands[:channels]).hex()


class Case:
    """One data set while it is made."""

    def __init__(self, rng, folder, number):
        self.rng, self.size, self.channels = rng, rng.randint(24, 40), rng.choice([1, 3])
        self.background = rng.choice([(255, 255, 255), (0, 0, 0), (10, 200, 30)])
        self.skip, self.files, self.expected = rng.random() < 0.7, {}, []
        self.broken, self.folder, self.number = [], folder, number

    def add(self, name, label):
        """A picture, of `label`, whose name lacks its ending. Now and then it is damaged."""
        data, ending, tolerance = picture(self.rng, self.size)
        damaged = self.rng.random() < 0.06
        if damaged:
            # Half of a file of several pages may hold all of the first; of a GIF all pixels in a block that is cut.
            end = 30 if data[:2] in (b"GI", b"II", b"MM") else len(data) // 2
            data = self.rng.choice([b"", b"no picture", data[:end]])
            if is_read(data):
                # The first of several pages, say, was whole.
                data = b"no picture"
            # Nothing else says that it was meant as a picture.
            ending = "png"
        name = f"{name}.{ending}" if ending else name
        self.files[name] = data
        try:
            shown = read(data, self.channels, self.background)
        except Exception:
            self.broken.append(name)
            return
        self.expected.append((name, label, tolerance, *shown))

    def noise(self, below):
        """Files that are no pictures: how many are to be counted."""
        others = {
            "readme.txt": b"pictures", "photo.heic": b"\0\0\0\x18ftypheic\0\0\0\0", "list.csv": b"a,b\n",
            "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        }
        hidden = [".DS_Store", "._1.png", "Thumbs.db", "grid.png", "__MACOSX/x/._1.png"]
        count = 0
        for name, data in others.items():
            if self.rng.random() < 0.3:
                self.files[below + name] = data
                count += 1
        for name in hidden:
            if self.rng.random() < 0.3:
                self.files[below + name] = b"\x89PNG\r\n\x1a\n no picture"
        return count

    def make(self):
        rng = self.rng
        kind = rng.choice(["flat", "classes", "numbers", "parts", "labels", "unlabelled"])
        wrapper = "".join(rng.choice(["photos/", "Ünïcode name/", "x/", "data.v2/"]) for _ in range(rng.choice([0, 0, 1, 2])))
        classes, taken, split = [], wrapper, "train"
        left_out = self.noise(wrapper)
        if kind == "flat":
            for i in range(rng.randint(1, 8)):
                self.add(f"{wrapper}{rng.choice(['a', 'B', 'é', '2'])}{i}", None)
        elif kind in ("classes", "numbers"):
            names = rng.sample(["cat", "Dog", "äpfel", "10x", "2", "_"], rng.randint(2, 4))
            if kind == "numbers":
                names = rng.sample([str(n) for n in range(0, 13)], rng.randint(2, 6))
            classes = sorted(names, key=int) if kind == "numbers" else sorted(names, key=lambda n: n.encode())
            for name in names:
                for i in range(rng.randint(1, 3)):
                    deep = rng.choice(["", "", "deep/"])
                    self.add(f"{wrapper}{name}/{deep}{i}", name)
        elif kind == "parts":
            split = rng.choice(["train", "test"])
            parts = rng.choice([("train", "test"), ("Train", "Test"), ("training", "validation"), ("train", "test")])
            classes = ["a", "b"]
            for part in parts:
                for name in classes:
                    self.add(f"{wrapper}{part}/{name}/0", name)
            taken = wrapper + parts[split == "test"] + "/"
            left_out = 0
        else:
            labels = []
            for i in range(rng.randint(1, 6)):
                before = set(self.files)
                name = f"0000{i % 2}/img{i:08}"
                label = rng.randint(0, 4)
                self.add(wrapper + name, label if kind == "labels" else None)
                labels += [[added[len(wrapper):], label] for added in set(self.files) - before]
            if kind == "labels":
                classes = [str(n) for n in range(max(label for _, label in labels) + 1)]
            text = json.dumps({"labels": labels if kind == "labels" else None})
            self.files[wrapper + "dataset.json"] = text.encode()
        return self.write(split, taken, classes, left_out)

    def write(self, split, taken, classes, left_out):
        path = self.folder / f"case{self.number}"
        if self.rng.random() < 0.5:
            path = path.with_suffix(".zip")
            with zipfile.ZipFile(path, "w", self.rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])) as archive:
                for name in self.rng.sample(sorted(self.files), len(self.files)):
                    archive.writestr(name, self.files[name])
        else:
            for name, data in self.files.items():
                place = path / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
        inside = [one for one in self.expected if one[0].startswith(taken)]
        inside.sort(key=lambda one: [part.encode() for part in one[0].split("/")])
        broken = sorted(name for name in self.broken if name.startswith(taken))
        images = [
            {"name": name, "label": label, "tolerance": tolerance, "pixels": pixels(shown, self.channels, self.size)}
            for name, label, tolerance, shown, *_ in inside
        ]
        numbers = {name: i for i, name in enumerate(classes)}
        for image in images:
            if isinstance(image["label"], str):
                image["label"] = numbers[image["label"]]
        return {
            "path": path.name, "size": self.size, "channels": self.channels, "split": split, "skip": self.skip,
            "background": self.background, "taken": taken.rstrip("/"), "classes": classes, "images": images,
            "broken": broken, "left_out": left_out,
            "transparent": sum(one[4] for one in inside), "turned": sum(one[5] for one in inside),
            "moving": sum(one[6] for one in inside),
        }


def main():
    folder, seed, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)
    cases = [Case(rng, folder, number).make() for number in range(count)]
    (folder / "cases.json").write_text(json.dumps(cases))
    print(f"{count} data sets, {sum(len(case['images']) for case in cases)} pictures")


if __name__ == "__main__":
    main()
