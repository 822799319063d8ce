//! Disks fill up, are wiped, and lose power.

use crate::common::power::{Loss, Power};
use crate::common::require::{mount_tmpfs, unmount};
use crate::common::require_mounts;
use crate::judge::all_is_well;
use crate::load::Load;
use crate::site::Site;

#[test]
fn a_leader_whose_disk_is_full_leaves_the_others_to_go_on_and_comes_back() {
    if !require_mounts() {
        return;
    }
    let Some(mut site) = Site::new(3, 3) else {
        return;
    };
    let dir = site.nodes[0].dir.clone();
    assert!(mount_tmpfs(&dir, "24m"), "mount a small disk");
    site.start_all();
    let load = Load::start(&site);
    load.more(20);
    assert_eq!(site.await_leader(), 0, "the first one founded the cluster");
    let filler = dir.join("filler");
    // As much as there is room for.
    let full = std::fs::write(&filler, vec![0; 64 << 20]);
    assert!(full.is_err(), "it should have filled the disk");
    let took = load.more(40);
    eprintln!("40 jobs {took:?} after the disk was full");
    std::fs::remove_file(&filler).unwrap();
    if !site.nodes[0].process.as_mut().unwrap().is_running() {
        let (code, said) = site.nodes[0].ended();
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("no room"), "{said}");
        site.nodes[0].start(None);
    }
    site.whole();
    all_is_well(&site, load);
    site.nodes[0].kill();
    unmount(&dir);
}

#[test]
fn members_that_lose_their_power_together_have_what_they_acknowledged() {
    let Some(mut site) = Site::new(3, 2) else {
        return;
    };
    let mut power: Vec<Power> = site
        .nodes
        .iter()
        .map(|node| Power::over(&node.dir))
        .collect();
    let seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    let watch = |site: &mut Site, power: &[Power]| {
        for (node, power) in site.nodes.iter_mut().zip(power) {
            let env = power.env();
            node.env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        }
    };
    watch(&mut site, &power);
    site.start_all();
    let load = Load::start(&site);
    for round in 0..4_u64 {
        load.more(20);
        for node in &mut site.nodes {
            node.kill();
        }
        for (number, power) in (0..).zip(&mut power) {
            power.lose(match round % 2 {
                0 => Loss::All,
                _ => Loss::Some(seed + 10 * round + number),
            });
        }
        watch(&mut site, &power);
        for number in 0..3 {
            site.nodes[number].start(None);
        }
        site.whole();
    }
    all_is_well(&site, load);
}

#[test]
fn a_member_whose_disk_was_wiped_is_taken_in_anew_under_its_old_name() {
    let Some(mut site) = Site::three(2) else {
        return;
    };
    let load = Load::start(&site);
    load.more(20);
    let leader = site.await_leader();
    let victim = (leader + 1) % 3;
    site.nodes[victim].kill();
    for entry in std::fs::read_dir(&site.nodes[victim].dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => std::fs::remove_dir_all(path).unwrap(),
            false => std::fs::remove_file(path).unwrap(),
        }
    }
    let through = site.nodes[(leader + 2) % 3].url();
    site.nodes[victim].start(Some(&through));
    site.whole();
    assert_eq!(site.members(leader).len(), 3, "{:#?}", site.members(leader));
    load.more(20);
    all_is_well(&site, load);
}
