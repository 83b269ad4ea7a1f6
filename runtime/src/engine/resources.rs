//! What a session may use, and what it needs.

use serde::Serialize;

use super::tract_session::Device;

/// What runs a model's passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(into = "&'static str")]
pub enum Engine {
    /// Plans of our kernels, in memory that is known before.
    #[default]
    Kernels,
    /// tract's own executor, which allocates as it goes.
    Tract(Device),
}

impl Engine {
    /// Every engine of this build.
    pub const ALL: &'static [Engine] = &[
        Engine::Kernels,
        Engine::Tract(Device::Cpu),
        #[cfg(feature = "cuda")]
        Engine::Tract(Device::Cuda),
    ];

    /// Its name in records and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Kernels => "kernels",
            Engine::Tract(Device::Cpu) => "tract",
            #[cfg(feature = "cuda")]
            Engine::Tract(Device::Cuda) => "cuda",
        }
    }

    /// What it is, for people.
    pub fn summary(self) -> &'static str {
        match self {
            Engine::Kernels => "our kernels, in memory that is known before the run",
            Engine::Tract(Device::Cpu) => "tract's own executor, to compare with: slower, in memory that nobody bounds",
            #[cfg(feature = "cuda")]
            Engine::Tract(Device::Cuda) => "tract's executor on an NVIDIA GPU",
        }
    }

    /// The engine of this name.
    pub fn named(name: &str) -> Option<Engine> {
        Engine::ALL.iter().copied().find(|engine| engine.name() == name)
    }
}

impl From<Engine> for &'static str {
    fn from(engine: Engine) -> &'static str {
        engine.name()
    }
}

/// Bytes that a model needs, known before any of the arena is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Packed weights and constants, shared by all threads.
    pub weights: usize,
    /// The arena of a forward pass.
    pub forward_arena: usize,
    /// The arena of a gradient pass, which serves the forward pass too; one per thread.
    pub gradient_arena: usize,
}

/// What a session may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Passes that run at a time; each has an arena of its own.
    pub threads: usize,
    /// Bytes for weights and arenas; none for any number.
    pub memory: Option<usize>,
    /// What runs them.
    pub engine: Engine,
}

impl Default for Resources {
    /// One thread of our kernels, any memory.
    fn default() -> Resources {
        Resources { threads: 1, memory: None, engine: Engine::Kernels }
    }
}
