//! A session allocates while it is prepared, and never while it runs.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use common::normal;
use whyline_runtime::Error;
use whyline_runtime::engine::{Gradient, Isa, Packs, PlanSession, Plans, Precision, Resources, Session};
use whyline_runtime::explain::Wanted;
use whyline_runtime::explain::{LoadOptions, Loaded};

/// The system's allocator, counting what each thread asks for.
struct Counted;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.with(|n| n.set(n.get() + 1));
}

fn counted() -> usize {
    ALLOCATIONS.with(Cell::get)
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

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
        let loaded = Loaded::read(&models.join(name).with_extension("onnx"), &options).unwrap();
        let derived = loaded.derive(&Wanted::default()).unwrap();
        for precision in [Precision::F32, Precision::F16Emulated] {
            let before = counted();
            let mut packs = Packs::new(precision, Isa::best());
            let plans = Arc::new(Plans::keeping(&derived, &mut packs).unwrap());
            let mut session = PlanSession::of(plans, Resources::default()).unwrap();
            assert!(counted() > before, "the counter counts nothing");
            let input = normal(session.input_shape().iter().product(), 1);
            let seed = vec![1.0; session.forward(&input).unwrap().len()];
            let before = counted();
            session.forward(&input).unwrap();
            session.gradient(&input, &seed).unwrap();
            let make = |i: usize, point: &mut [f32]| {
                point.copy_from_slice(&input);
                point[50 * i..50 * i + 5].fill(0.5);
            };
            session.forwards(3, &make, &mut |_, _| Ok(ControlFlow::Continue(()))).unwrap();
            assert_eq!(counted(), before, "{name} in {} allocates while it runs", precision.name());
        }
    }
}

/// Sessions in memory that the caller lends, and every pass of a path, one after the other.
#[test]
fn a_session_in_lent_memory_allocates_nothing_from_the_start() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let loaded = Loaded::read(&models.join("digits-cnn.onnx"), &LoadOptions::default()).unwrap();
    let plans = Arc::new(Plans::new(&loaded.derive(&Wanted::default()).unwrap(), Precision::F32).unwrap());
    let input = normal(48 * 48, 1);
    let (seed, arena) = (vec![1.0; 10], plans.arena_bytes());
    let mut own = PlanSession::of(plans.clone(), Resources::default()).unwrap();
    let expected = own.gradient(&input, &seed).unwrap().input.to_vec();
    // Anything may be in it, and it may begin anywhere.
    let mut memory = vec![0xa5; 2 * arena + 65];
    let before = counted();
    let mut session = PlanSession::within(plans.clone(), &mut memory[1..], 1).unwrap();
    assert_eq!(session.gradient(&input, &seed).unwrap().input, expected);
    let mut taken = 0;
    let mut take = |_: usize, gradient: Gradient| {
        taken += usize::from(gradient.input == expected);
        Ok(ControlFlow::Continue(()))
    };
    session.gradients(&seed, 3, &|_, point| point.copy_from_slice(&input), &mut take).unwrap();
    let allocations = counted() - before;
    assert_eq!(taken, 3);
    // The list of arenas.
    assert!(allocations <= 1, "{allocations} allocations");
    drop(session);
    assert_eq!(PlanSession::within(plans.clone(), &mut memory, 8).unwrap().threads(), 2);
    let error = PlanSession::within(plans, &mut memory[..arena / 2], 1).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Budget { .. }), "{error}");
}
