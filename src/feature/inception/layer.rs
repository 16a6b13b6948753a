//! The convolutions of the network, by name.

/// A convolution without bias, followed by a batch norm and a rectifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name, such as `Mixed_5b.branch1x1`; its kernel is `NAME.conv.weight`.
    pub name: String,
    /// Output channels.
    pub output: usize,
    /// Input channels.
    pub input: usize,
    /// Taps down and across.
    pub taps: [usize; 2],
    /// Pixels from one output to the next.
    pub stride: usize,
    /// Zeros above and below, and to the left and right.
    pub padding: [usize; 2],
}

impl Layer {
    /// Dimensions of its kernel.
    pub fn dims(&self) -> Vec<usize> {
        vec![self.output, self.input, self.taps[0], self.taps[1]]
    }
}

/// Blocks of 35 x 35 pixels: name, input channels, and channels of the branch with a mean.
pub(super) const FINE: [(&str, usize, usize); 3] = [
    ("Mixed_5b", 192, 32),
    ("Mixed_5c", 256, 64),
    ("Mixed_5d", 288, 64),
];
/// Blocks of 17 x 17 pixels: name, and channels inside the branches of seven taps.
pub(super) const MIDDLE: [(&str, usize); 4] = [
    ("Mixed_6b", 128),
    ("Mixed_6c", 160),
    ("Mixed_6d", 160),
    ("Mixed_6e", 192),
];
/// Blocks of 8 x 8 pixels: name, and input channels.
pub(super) const COARSE: [(&str, usize); 2] = [("Mixed_7b", 1280), ("Mixed_7c", 2048)];

/// All 94 of them, in the order of the file.
pub fn layers() -> Vec<Layer> {
    let mut list = List::default();
    list.add("Conv2d_1a_3x3", [32, 3], [3, 3], 2, false);
    list.add("Conv2d_2a_3x3", [32, 32], [3, 3], 1, false);
    list.add("Conv2d_2b_3x3", [64, 32], [3, 3], 1, true);
    list.add("Conv2d_3b_1x1", [80, 64], [1, 1], 1, false);
    list.add("Conv2d_4a_3x3", [192, 80], [3, 3], 1, false);
    for (block, input, pool) in FINE {
        list.block = block;
        list.same("branch1x1", [64, input], [1, 1]);
        list.same("branch5x5_1", [48, input], [1, 1]);
        list.same("branch5x5_2", [64, 48], [5, 5]);
        list.same("branch3x3dbl_1", [64, input], [1, 1]);
        list.same("branch3x3dbl_2", [96, 64], [3, 3]);
        list.same("branch3x3dbl_3", [96, 96], [3, 3]);
        list.same("branch_pool", [pool, input], [1, 1]);
    }
    list.block = "Mixed_6a";
    list.halve("branch3x3", [384, 288]);
    list.same("branch3x3dbl_1", [64, 288], [1, 1]);
    list.same("branch3x3dbl_2", [96, 64], [3, 3]);
    list.halve("branch3x3dbl_3", [96, 96]);
    for (block, inside) in MIDDLE {
        list.block = block;
        list.same("branch1x1", [192, 768], [1, 1]);
        list.same("branch7x7_1", [inside, 768], [1, 1]);
        list.same("branch7x7_2", [inside, inside], [1, 7]);
        list.same("branch7x7_3", [192, inside], [7, 1]);
        list.same("branch7x7dbl_1", [inside, 768], [1, 1]);
        list.same("branch7x7dbl_2", [inside, inside], [7, 1]);
        list.same("branch7x7dbl_3", [inside, inside], [1, 7]);
        list.same("branch7x7dbl_4", [inside, inside], [7, 1]);
        list.same("branch7x7dbl_5", [192, inside], [1, 7]);
        list.same("branch_pool", [192, 768], [1, 1]);
    }
    list.block = "Mixed_7a";
    list.same("branch3x3_1", [192, 768], [1, 1]);
    list.halve("branch3x3_2", [320, 192]);
    list.same("branch7x7x3_1", [192, 768], [1, 1]);
    list.same("branch7x7x3_2", [192, 192], [1, 7]);
    list.same("branch7x7x3_3", [192, 192], [7, 1]);
    list.halve("branch7x7x3_4", [192, 192]);
    for (block, input) in COARSE {
        list.block = block;
        list.same("branch1x1", [320, input], [1, 1]);
        list.same("branch3x3_1", [384, input], [1, 1]);
        list.same("branch3x3_2a", [384, 384], [1, 3]);
        list.same("branch3x3_2b", [384, 384], [3, 1]);
        list.same("branch3x3dbl_1", [448, input], [1, 1]);
        list.same("branch3x3dbl_2", [384, 448], [3, 3]);
        list.same("branch3x3dbl_3a", [384, 384], [1, 3]);
        list.same("branch3x3dbl_3b", [384, 384], [3, 1]);
        list.same("branch_pool", [192, input], [1, 1]);
    }
    list.layers
}

#[derive(Default)]
struct List {
    block: &'static str,
    layers: Vec<Layer>,
}

impl List {
    fn add(
        &mut self,
        name: &str,
        [output, input]: [usize; 2],
        taps: [usize; 2],
        stride: usize,
        padded: bool,
    ) {
        let name = match self.block {
            "" => name.to_string(),
            block => format!("{block}.{name}"),
        };
        self.layers.push(Layer {
            name,
            output,
            input,
            taps,
            stride,
            padding: taps.map(|taps| if padded { taps / 2 } else { 0 }),
        });
    }

    /// One that keeps the size.
    fn same(&mut self, name: &str, channels: [usize; 2], taps: [usize; 2]) {
        self.add(name, channels, taps, 1, true);
    }

    /// One that halves it.
    fn halve(&mut self, name: &str, channels: [usize; 2]) {
        self.add(name, channels, [3, 3], 2, false);
    }
}
