//! Histories at random: a small IAM that changes before any call or page of any flow, against the real service on a
//! clock of its own.
//!
//! `KEYMAKER_HISTORIES` says how many (2,000), `KEYMAKER_SEED` from which seed on (1; at random with `KEYMAKER_LONG`).
//! Each history is one seed, and a failure names it. `./check histories` runs 100,000, `./check --long histories` ten
//! million. `world` says what must hold. Left out is a name that moves away and back within one flow: nothing that IAM
//! answers shows it (SECURITY.md).

use std::cell::RefCell;
use std::collections::BTreeSet;

use world::World;

use super::*;

mod world;

const HISTORIES: u64 = 2_000;
const USER_NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];
const GROUP_NAMES: [&str; 4] = ["keymaker_devs", "keymaker_sudo", "keymaker_ops", "other"];
/// One history of so many goes on until the facts are as IAM has it, which takes as long as all the rest of it.
const SETTLES: u8 = 4;
/// A call to IAM takes less than this, in milliseconds.
const LONGEST_CALL: u64 = 600;
/// When each history begins, in seconds since 1970.
const BEGIN: u64 = 1_800_000_000;
/// Nobody ever changes anything about her.
const ZOE: &str = "AIDAZOE";

// P2 P3 P9
#[test]
fn in_no_history_does_anybody_get_what_is_another_ids_or_was_taken_from_them() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let histories = number("KEYMAKER_HISTORIES").unwrap_or(HISTORIES);
    let long = std::env::var("KEYMAKER_LONG").is_ok_and(|long| !long.is_empty());
    let first = number("KEYMAKER_SEED").unwrap_or_else(|| if long { fastrand::u64(..1 << 48) } else { 1 });
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    println!("{histories} histories, seeds from {first} on");
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let seeds = (first..first + histories)
                .skip(thread as usize)
                .step_by(threads as usize);
            scope.spawn(move || {
                on_one_thread(async {
                    tokio::time::pause();
                    for seed in seeds {
                        history(seed).await;
                    }
                });
            });
        }
    });
}

async fn history(seed: u64) {
    let iam = IamFake::new();
    let world = Rc::new(RefCell::new(World::new(seed)));
    let settings = match world.borrow_mut().rng.u8(..3) {
        0 => "grade = 1\ntags = [\"gecos\"]\nprefetch_keys = \"all\"",
        1 => "prefetch_keys = \"all\"",
        _ => "tags = [\"gecos\"]\nrequire_iam_group = \"required\"",
    };
    // Nothing is written: `world` looks at what would be.
    let service = start(std::path::Path::new("/nonexistent"), settings, &iam, Rc::default());
    service.state_mut().halted = true;
    service.clock.stop(BEGIN);
    populate(&iam, &world);
    service.pass().await;
    service.refresh_keys(name("zoe"), Cause::Login).await;
    iam.between_calls({
        let (world, service) = (Rc::clone(&world), Rc::clone(&service));
        move |iam, _| change(iam, &world, &service)
    });
    for _ in 0..6 {
        world.borrow_mut().begin_flow(&iam);
        let seconds = *world.borrow_mut().pick(&[0, 1, 4, 6, 61, 301]);
        service.clock.advance(Duration::from_secs(seconds));
        flow(&service, &world).await;
        world.borrow_mut().check(&service);
    }
    iam.stand_still();
    iam.mend_all();
    service.state_mut().outages.forget();
    let settles = world.borrow_mut().rng.u8(..SETTLES) == 0;
    if settles {
        check_that_it_settles(&service, &iam, &world).await;
    }
}

fn populate(iam: &IamFake, world: &Rc<RefCell<World>>) {
    let mut world = world.borrow_mut();
    iam.set_page(*world.pick(&[1, 2, 1000]));
    iam.add_group("required", "AGPAREQUIRED", 1);
    for group in &GROUP_NAMES[..3] {
        world.make_group(iam, group);
    }
    iam.add_user("zoe", ZOE, 1);
    world.join(iam, (ZOE, "zoe"), ("AGPAREQUIRED", "required"));
    world.make_key(iam, ZOE, "zoe");
    for user in &USER_NAMES[..3] {
        world.make_user(iam, user);
    }
    world.note_members(iam);
}

/// What somebody asks, or two at once.
async fn flow(service: &Rc<Service<IamFake>>, world: &Rc<RefCell<World>>) {
    let (one, other, cause, kind) = {
        let mut world = world.borrow_mut();
        let names = ["alice", "bob", "carol", "dave", "zoe"].map(name);
        let causes = [SSHD, Cause::Login, Cause::Credentials, Cause::Lookup { uid: 0 }];
        (
            *world.pick(&names),
            *world.pick(&names),
            *world.pick(&causes),
            world.rng.u8(..7),
        )
    };
    match kind {
        0 => drop(service.pass().await),
        1 => drop(service.refresh_account(one, cause).await),
        2 => drop(service.refresh_keys(one, cause).await),
        3 => drop(tokio::join!(service.pass(), service.refresh_keys(one, cause))),
        4 => drop(tokio::join!(service.pass(), service.refresh_account(one, cause))),
        5 => restart(service),
        _ => drop(tokio::join!(
            service.refresh_keys(one, cause),
            service.refresh_keys(other, Cause::Login)
        )),
    }
}

/// What a start reads of what was kept.
fn restart(service: &Service<IamFake>) {
    let mut state = service.state_mut();
    let contact = state.contact;
    state.facts = state.facts.as_of_contact(contact).since_contact(contact);
    state.no_such_user.clear();
    state.outages.forget();
}

/// What happens in IAM between two calls: mostly nothing.
fn change(iam: &IamFake, world: &Rc<RefCell<World>>, service: &Rc<Service<IamFake>>) {
    let mut world = world.borrow_mut();
    // What a call takes.
    service
        .clock
        .advance(Duration::from_millis(world.rng.u64(..LONGEST_CALL)));
    if world.rng.u8(..4) == 0 {
        world.check_that_nothing_comes_back(&service.state());
        change_something(iam, &mut world, &service.clock);
        world.note_members(iam);
    }
}

fn change_something(iam: &IamFake, world: &mut World, clock: &AnswerClock) {
    let now = clock.answer_time();
    let users: Vec<Entry> = iam.users().into_iter().filter(|(id, _)| id != ZOE).collect();
    let groups: Vec<Entry> = iam
        .groups()
        .into_iter()
        .filter(|(_, name)| name != "required")
        .collect();
    match world.rng.u8(..16) {
        0..7 => change_a_user(iam, world, &users, now),
        7..10 => change_a_group(iam, world, &groups, now),
        10..12 => change_a_membership(iam, world, &users, &groups, now),
        12 => change_a_key(iam, world, &users, now),
        13 => match world.rng.u8(..4) {
            0 => clock.set_host(world.rng.i64(-100_000..100_000)),
            _ => clock.advance(Duration::from_secs(world.rng.u64(1..9))),
        },
        14 => fail_something(iam, world),
        _ => iam.mend_all(),
    }
}

/// An id and a name.
type Entry = (String, String);

fn change_a_user(iam: &IamFake, world: &mut World, users: &[Entry], now: u64) {
    let new_name = *world.pick(&USER_NAMES);
    let is_free = users.iter().all(|(_, name)| name != new_name);
    if users.is_empty() || is_free && world.rng.u8(..4) == 0 {
        return world.make_user(iam, new_name);
    }
    let ((id, name), (other_id, other)) = (world.pick(users), world.pick(users));
    match world.rng.u8(..6) {
        0 => {
            world.delete_user(iam, id, name, now);
            if world.rng.bool() {
                world.make_user(iam, name);
            }
        }
        1 | 2 if is_free && world.may_hold(new_name, id) => iam.rename_user(name, new_name),
        3.. if id != other_id && world.may_hold_both((other, id), (name, other_id)) => iam.swap_users(name, other),
        _ => {}
    }
}

fn change_a_group(iam: &IamFake, world: &mut World, groups: &[Entry], now: u64) {
    let new_name = *world.pick(&GROUP_NAMES);
    let is_free = groups.iter().all(|(_, name)| name != new_name);
    if groups.is_empty() || is_free && world.rng.u8(..4) == 0 {
        return world.make_group(iam, new_name);
    }
    let ((id, name), (other_id, other)) = (world.pick(groups), world.pick(groups));
    match world.rng.u8(..3) {
        0 => {
            for member in iam.members().into_iter().filter(|(group, _)| group == id) {
                world.take(member, now);
            }
            iam.delete_group(name);
            if world.rng.bool() {
                world.make_group(iam, name);
            }
        }
        1 if is_free && world.may_hold(new_name, id) => iam.rename_group(name, new_name),
        2 if id != other_id && world.may_hold_both((other, id), (name, other_id)) => iam.swap_groups(name, other),
        _ => {}
    }
}

fn change_a_membership(iam: &IamFake, world: &mut World, users: &[Entry], groups: &[Entry], now: u64) {
    if users.is_empty() || groups.is_empty() {
        return;
    }
    let ((user_id, user), (group_id, group)) = (world.pick(users), world.pick(groups));
    let member = (group_id.clone(), user_id.clone());
    if iam.members().contains(&member) {
        world.take(member, now);
        iam.leave(user, group);
    } else if !world.was_taken(&member) {
        world.join(iam, (user_id, user), (group_id, group));
    }
}

fn change_a_key(iam: &IamFake, world: &mut World, users: &[Entry], now: u64) {
    if users.is_empty() {
        return;
    }
    let (id, user) = world.pick(users);
    match iam.active_keys(id).into_iter().next() {
        Some(key) if world.rng.bool() => {
            if world.rng.bool() {
                iam.set_key_active(user, &key, false)
            } else {
                iam.delete_key(user, &key)
            }
            world.take((key, String::new()), now);
        }
        _ => world.make_key(iam, id, user),
    }
}

fn fail_something(iam: &IamFake, world: &mut World) {
    let action = *world.pick(&[
        Action::GET_USER,
        Action::LIST_GROUPS_FOR_USER,
        Action::GET_GROUP,
        Action::LIST_SSH_PUBLIC_KEYS,
        Action::GET_SSH_PUBLIC_KEY,
        Action::LIST_USERS,
    ]);
    match world.rng.u8(..3) {
        0 => iam.time_out(action),
        1 => iam.fail(AwsCallError::Throttled { action }),
        _ => iam.deny(action),
    }
}

/// Once nothing changes and IAM answers, the facts are what is true: nothing stays refused, nobody stays confused with
/// anybody.
async fn check_that_it_settles(service: &Rc<Service<IamFake>>, iam: &IamFake, world: &Rc<RefCell<World>>) {
    let seed = world.borrow().seed;
    let mut difference = None;
    for _ in 0..3 {
        service.clock.advance(Duration::from_secs(400));
        service.state_mut().grade_until = None;
        // Nothing can be written, so the answer is not "fresh".
        service.pass().await;
        let contact = service.state().contact;
        assert_eq!(contact, Some(service.clock.answer_time()), "seed {seed}");
        for (_, user) in iam.users() {
            service.refresh_keys(name(&user), Cause::Login).await;
        }
        world.borrow_mut().check(service);
        difference = difference_from_iam(&service.state(), iam);
        if difference.is_none() {
            return;
        }
    }
    panic!("seed {seed}: it does not settle: {}", difference.unwrap_or_default());
}

fn difference_from_iam(state: &State, iam: &IamFake) -> Option<String> {
    let facts = &state.facts;
    let known = facts.users.iter().map(|(id, user)| (id.clone(), user.name.clone()));
    let (known, true_ones): (BTreeSet<_>, BTreeSet<_>) = (known.collect(), iam.users().into_iter().collect());
    if known != true_ones {
        return Some(format!("users: {known:?} instead of {true_ones:?}"));
    }
    if let Some((id, group)) = facts.groups.iter().find(|(_, group)| group.disputed) {
        return Some(format!("the group {id}: {group:?}"));
    }
    let members = iam.members();
    let matters = |id: &&String| {
        // Groups that mean nothing here need not be known.
        let group = facts.groups.get(*id);
        group.is_some_and(|group| group.name.starts_with("keymaker_"))
    };
    facts.users.iter().find_map(|(id, user)| {
        let joined = members.iter().filter(|(_, member)| member == id);
        let joined: BTreeSet<&String> = joined.map(|(group, _)| group).filter(matters).collect();
        let known: BTreeSet<&String> = user.groups.iter().filter(matters).collect();
        let keys = user.keys.iter().flat_map(|keys| keys.usable());
        let keys: BTreeSet<String> = keys.map(|(key, _)| key.clone()).collect();
        let settled = user.doubted_since.is_none() && known == joined && keys == iam.active_keys(id);
        (!settled).then(|| {
            format!(
                "{id}: {user:?} instead of groups {joined:?} and keys {:?}",
                iam.active_keys(id)
            )
        })
    })
}
