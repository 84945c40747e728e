//! SIGKILL in place of each system call that has an effect outside kuth, one after the other, and at
//! calls of any kind. What is published is whole, no process stays, and the next build leaves what one
//! leaves that nothing happened to.

use kuth_test_support::trace::{self, Call, Effect, Verdict};

use crate::table::{Points, part};
use crate::world::{Machines, Start, World};

/// What a build does: the effects in order, and the number of all its calls.
fn count(world: &World) -> (Vec<Effect>, usize) {
    world.restore();
    let (mut effects, mut calls) = (Vec::new(), 0);
    let mut count = |call: &Call| {
        effects.extend(call.effect());
        calls += 1;
        Verdict::Go
    };
    trace::run(&world.project, &World::arguments(), &mut count).ok();
    (effects, calls)
}

/// Kills a build at the call of this number of those that `counts` takes; what was killed, or `None`
/// where the build ended before.
fn kill_at(
    world: &World,
    at: usize,
    counts: fn(&Call) -> bool,
) -> Option<(Option<Effect>, String)> {
    world.restore();
    let (mut left, mut what) = (at, None);
    let mut kill = |call: &Call| match counts(call) {
        true if left == 0 && what.is_none() => {
            what = Some((call.effect(), format!("{:?}", call.path().unwrap_or_default())));
            Verdict::Kill
        }
        true => {
            left = left.saturating_sub(1);
            Verdict::Go
        }
        false => Verdict::Go,
    };
    let run = trace::run(&world.project, &World::arguments(), &mut kill);
    assert_eq!(run.status == -1, what.is_some(), "{}", run.err);
    if what.is_none() {
        run.ok();
    }
    what
}

fn judge(world: &World, at: usize, path: &str) -> Result<(), String> {
    world.judge().map_err(|why| format!("killed at {at}, {path}: {why}"))
}

/// Kills a build at every so-manieth of its effects.
fn kill_at_effects(name: &str, start: Start, machines: Machines, every: usize) {
    let Some(world) = World::new(start, machines) else { return };
    let (effects, _) = count(&world);
    let mut points = Points::new(&format!("kill, {name}"));
    for at in (0..effects.len()).step_by(every) {
        if let Some((effect, path)) = kill_at(&world, at, |call| call.effect().is_some()) {
            points.add(effect.map_or("", Effect::name), judge(&world, at, &path));
        }
    }
    points.end();
}

#[test]
fn killed_while_everything_is_built_first() {
    kill_at_effects("first build", Start::Disk, Machines::Qemu, part(97, 3));
}

#[test]
#[ignore = "make torture: it is slow, since tools are unpacked"]
fn killed_while_a_disk_is_made() {
    kill_at_effects("disk", Start::Empty, Machines::Qemu, 67);
}

#[test]
fn killed_while_everything_is_replaced() {
    kill_at_effects("replacing build", Start::Older, Machines::Qemu, part(97, 3));
}

#[test]
fn killed_between_hypervisor_commands_and_requests() {
    kill_at_effects("VBoxManage, HTTP", Start::Older, Machines::VirtualBox, part(97, 3));
}

#[test]
fn killed_at_any_call() {
    let Some(world) = World::new(Start::Older, Machines::Qemu) else { return };
    let (_, calls) = count(&world);
    let mut points = Points::new("kill, any call");
    // The same ones each time: a linear congruential generator, from Knuth.
    let mut random = 1u64;
    for _ in 0..part(8, 200) {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let at = (random >> 33) as usize % calls;
        if let Some((_, path)) = kill_at(&world, at, |_| true) {
            points.add("random", judge(&world, at, &path));
        }
    }
    points.end();
}
