//! What `mpirun` and its like say to those whom they start.

/// One of several processes of a launcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launched {
    /// Its number, from 0.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
}

/// The variables with the number of a process and of all: of Open MPI, of MPICH, Intel MPI and Slurm's PMI, of MVAPICH, and of
/// Slurm's PMIx.
const KNOWN: [[&str; 2]; 4] = [
    ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
    ["PMI_RANK", "PMI_SIZE"],
    ["MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"],
    ["PMIX_RANK", "SLURM_STEP_NUM_TASKS"],
];

/// Whether a launcher of MPI has started this process: it is not asked for where nobody has, because it would be slow to answer,
/// and may not be there.
pub fn launched() -> Option<Launched> {
    of(|name| std::env::var(name).ok())
}

fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Launched> {
    KNOWN.iter().find_map(|[rank, size]| {
        let number = |name: &str| variable(name)?.trim().parse().ok();
        let (rank, size) = (number(rank)?, number(size)?);
        (rank < size).then_some(Launched { rank, size })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_are_told_by_their_variables() {
        let found = |set: &[(&str, &str)]| {
            of(|name| {
                let known = set.iter().find(|(known, _)| *known == name);
                known.map(|(_, value)| value.to_string())
            })
        };
        let third = Some(Launched { rank: 2, size: 4 });
        let open = [("OMPI_COMM_WORLD_RANK", "2"), ("OMPI_COMM_WORLD_SIZE", "4")];
        assert_eq!(found(&open), third);
        assert_eq!(found(&[("PMI_SIZE", "4"), ("PMI_RANK", "2")]), third);
        let slurm = [("PMIX_RANK", "2"), ("SLURM_STEP_NUM_TASKS", "4")];
        assert_eq!(found(&slurm), third);
        assert_eq!(found(&[]), None);
        assert_eq!(found(&open[..1]), None);
        assert_eq!(found(&[("PMI_RANK", "x"), ("PMI_SIZE", "4")]), None);
    }
}
