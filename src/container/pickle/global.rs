//! The names of Python's that a file of weights may mention, and what stands here for each of them.

use crate::container::scalar::Scalar;

/// A name of Python's in a file: what Python would import, and in the case of a function call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Global {
    /// Module and name, such as `torch._utils._rebuild_tensor_v2`.
    pub name: String,
    /// Where it is first mentioned, in bytes from the start of the file.
    pub offset: u64,
    /// How often it is mentioned.
    pub mentions: usize,
    /// Whether it is on the list of names that weights need. Classes that are not are passed over unread; any other name refuses the
    /// file.
    pub allowed: bool,
    pub(super) role: Option<Role>,
}

/// What a name on the list stands for. Nothing is ever called: each has a fixed meaning as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A dictionary or a subclass of one.
    Dict,
    List,
    Tuple,
    Set,
    RebuildTensor,
    RebuildTensorV3,
    /// The tensor in the first argument.
    RebuildParameter,
    /// Another function and its arguments.
    RebuildFromType,
    /// A legacy torch stream inside a byte string.
    LoadFromBytes,
    NumpyScalar,
    NumpyType,
    /// `torch_utils.persistence._reconstruct_persistent_obj`.
    Persistent,
    /// `_codecs.encode`: how Python 3 spells bytes in protocol 2.
    Encode,
    /// `copyreg._reconstructor`: how protocols 0 and 1 spell an instance.
    Reconstructor,
    Storage(Scalar),
    Dtype(Scalar),
    /// A class whose instances are looked at for their state.
    Class,
    /// Something that weights do not depend on.
    Inert,
    /// A class that is not on the list: its instances are kept shut, and no weights come out of them.
    Opaque,
}

impl Role {
    /// The list.
    pub(super) fn of(module: &str, name: &str) -> Option<Self> {
        if module == "torch" {
            let storage = Scalar::of_storage(name).map(Self::Storage);
            if let Some(role) = storage.or(Scalar::of_torch(name).map(Self::Dtype)) {
                return Some(role);
            }
        }
        let role = match (module, name) {
            ("collections", "OrderedDict" | "defaultdict" | "Counter") => Self::Dict,
            ("dnnlib.util" | "dnnlib", "EasyDict") => Self::Dict,
            ("builtins" | "__builtin__", "dict") => Self::Dict,
            ("builtins" | "__builtin__", "set" | "frozenset") => Self::Set,
            ("builtins" | "__builtin__", "list") => Self::List,
            ("builtins" | "__builtin__", "tuple") | ("torch", "Size") => Self::Tuple,
            ("builtins" | "__builtin__", "int" | "float" | "bool" | "str" | "bytes" | "object") => {
                Self::Inert
            }
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v3") => Self::RebuildTensorV3,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Self::RebuildParameter
            }
            ("torch._tensor", "_rebuild_from_type_v2") => Self::RebuildFromType,
            ("torch.storage", "_load_from_bytes") => Self::LoadFromBytes,
            ("torch.storage", "UntypedStorage") => Self::Storage(Scalar::U8),
            ("torch", "device") | ("torch.serialization", "_get_layout") => Self::Inert,
            ("torch.nn.parameter", "Parameter") | ("torch", "Tensor") => Self::Class,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Self::NumpyScalar,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct")
            | ("numpy", "ndarray") => Self::Inert,
            ("numpy", "dtype") => Self::NumpyType,
            ("torch_utils.persistence", "_reconstruct_persistent_obj") => Self::Persistent,
            ("_codecs", "encode") => Self::Encode,
            ("copyreg" | "copy_reg", "_reconstructor") => Self::Reconstructor,
            // Callbacks in the files of latent diffusion: keys of a dictionary that has nothing to do with weights.
            ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint") => Self::Inert,
            _ if is_network_class(module, name) => Self::Class,
            _ => return None,
        };
        Some(role)
    }
}

/// Modules whose classes do things to a machine: a file that mentions one is not about weights.
const HARMFUL: [&str; 24] = [
    "os",
    "posix",
    "nt",
    "subprocess",
    "sys",
    "builtins",
    "__builtin__",
    "importlib",
    "runpy",
    "shutil",
    "socket",
    "ctypes",
    "code",
    "codeop",
    "pty",
    "multiprocessing",
    "threading",
    "asyncio",
    "http",
    "urllib",
    "ftplib",
    "smtplib",
    "webbrowser",
    "pickle",
];

impl Role {
    /// That of a class that is not on the list, such as the settings that trainers leave beside weights; `None` for functions, and
    /// for classes of modules that do things.
    pub(super) fn of_stranger(module: &str, name: &str) -> Option<Self> {
        let root = module.split('.').next().unwrap_or(module);
        let word = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let class = name.starts_with(|c: char| c.is_ascii_uppercase());
        let dates = module == "datetime" && ["datetime", "date", "timedelta"].contains(&name);
        let fine = module.split('.').all(word) && word(name) && !HARMFUL.contains(&root);
        (fine && (class || dates)).then_some(Self::Opaque)
    }
}

/// Layers of torch, and the networks of the official code.
fn is_network_class(module: &str, name: &str) -> bool {
    let class = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let layer = module
        .strip_prefix("torch.nn.modules.")
        .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
    let network = ["models.networks_edm", "training.networks"].contains(&module);
    class && (layer || network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_weights_need_is_on_the_list() {
        for (module, name, role) in [
            ("torch", "FloatStorage", Role::Storage(Scalar::F32)),
            ("torch", "bfloat16", Role::Dtype(Scalar::BF16)),
            ("torch.nn.modules.container", "ModuleDict", Role::Class),
            ("models.networks_edm", "EDMPrecond", Role::Class),
            ("collections", "OrderedDict", Role::Dict),
        ] {
            assert_eq!(Role::of(module, name), Some(role), "{module}.{name}");
        }
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("builtins", "getattr"),
            ("__builtin__", "exec"),
            ("torch", "load"),
            ("torch", "hub.load"),
            ("torch.nn.modules.module", "warnings"),
            ("torch.nn.modules.os", "System.x"),
            ("models.networks_edm", "load"),
            ("numpy.testing._private.utils", "runstring"),
            ("", ""),
        ] {
            assert_eq!(Role::of(module, name), None, "{module}.{name}");
            assert_eq!(Role::of_stranger(module, name), None, "{module}.{name}");
        }
        for (module, name) in [
            ("subprocess", "Popen"),
            ("torch.hub", "load"),
            ("os.path", "X"),
        ] {
            assert_eq!(Role::of_stranger(module, name), None, "{module}.{name}");
        }
        for (module, name) in [
            ("argparse", "Namespace"),
            ("omegaconf.dictconfig", "DictConfig"),
            ("pathlib", "PosixPath"),
            ("typing", "Any"),
            // No layer: what is in it is not looked at.
            ("torch.nn.modules.a.b", "Module"),
        ] {
            let role = (Role::of(module, name), Role::of_stranger(module, name));
            assert_eq!(role, (None, Some(Role::Opaque)), "{module}.{name}");
        }
    }
}
