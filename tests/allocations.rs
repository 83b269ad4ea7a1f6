//! A session allocates while it is prepared, and never while it runs.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::normal;
use whyline_runtime::engine::{PlanSession, Session};
use whyline_runtime::explain::{LoadOptions, Loaded};
use whyline_runtime::gradient::composite::GRADIENT;

/// The system's allocator, counting.
struct Counted;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// One test, because the count is the whole program's.
#[test]
fn running_allocates_nothing() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let names = [
        "digits-cnn",
        "digits-vit",
        "architectures/squeezenet1_1",
        "architectures/mobilenet_v2",
        "architectures/resnet18",
    ];
    for name in names {
        let options = LoadOptions { random_weights: Some(0), ..LoadOptions::default() };
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let loaded = Loaded::read(&models.join(name).with_extension("onnx"), &options).unwrap();
        let mut session = PlanSession::new(&loaded.derive(&GRADIENT, None).unwrap()).unwrap();
        assert!(ALLOCATIONS.load(Ordering::Relaxed) > before, "the counter counts nothing");
        let input = normal(session.input_shape().iter().product(), 1);
        let seed = vec![1.0; session.forward(&input).unwrap().len()];
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        session.forward(&input).unwrap();
        session.gradient(&input, &seed).unwrap();
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before, "{name} allocates while it runs");
    }
}
