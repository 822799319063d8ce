//! Who is chosen, case by case.

use std::collections::BTreeMap;

use super::super::table::Table;
use super::super::table::tests::record;
use super::*;

const RULES: Rules = Rules {
    balance: Balance::RoundRobin,
    in_flight: 1000,
    cooldown: Duration::from_secs(10),
};

fn service(endpoints: usize) -> Arc<Service> {
    let hosts: Vec<(String, String)> = (0..endpoints)
        .map(|at| (format!("h{at}"), format!("http://h{at}:1")))
        .collect();
    let assignments: Vec<(&str, &str, &str)> = hosts
        .iter()
        .map(|(host, url)| (host.as_str(), "running", url.as_str()))
        .collect();
    let table = Table::after(&Table::default(), &[record("svc_1", "api", &assignments)]);
    Arc::clone(table.find("api").unwrap())
}

/// How often each host is chosen in `times` requests that end at once.
fn spread(service: &Arc<Service>, times: usize, key: Option<u64>) -> BTreeMap<String, usize> {
    let mut chosen = BTreeMap::new();
    for _ in 0..times {
        let pick = service.choose(&RULES, key, &[], Moment::now()).unwrap();
        *chosen
            .entry(pick.endpoint().place.host.to_string())
            .or_default() += 1;
    }
    chosen
}

fn expect(chosen: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let chosen = chosen.iter();
    chosen
        .map(|(host, times)| ((*host).to_owned(), *times))
        .collect()
}

fn take_out(service: &Arc<Service>, at: usize) {
    let health = &service.endpoints[at].health;
    while health.state(Moment::now()) == State::Up {
        health.probed(false);
    }
}

fn cannot_connect(service: &Arc<Service>, at: usize) {
    let health = &service.endpoints[at].health;
    health.noted(
        Outcome::Unreachable,
        Moment::now(),
        Duration::from_secs(600),
    );
}

#[test]
fn turns_are_even_and_the_unwell_have_none() {
    let service = service(4);
    assert_eq!(
        spread(&service, 40, None),
        expect(&[("h0", 10), ("h1", 10), ("h2", 10), ("h3", 10)])
    );
    take_out(&service, 1);
    assert_eq!(
        spread(&service, 30, None),
        expect(&[("h0", 10), ("h2", 10), ("h3", 10)])
    );
    take_out(&service, 2);
    assert_eq!(
        spread(&service, 30, None),
        expect(&[("h0", 15), ("h3", 15)]),
        "half is not over half"
    );
}

#[test]
fn when_over_half_are_unwell_all_are_used_but_those_that_nobody_can_reach() {
    let service = service(4);
    for at in 0..3 {
        take_out(&service, at);
    }
    assert_eq!(spread(&service, 40, None).len(), 4);
    cannot_connect(&service, 0);
    assert_eq!(
        spread(&service, 30, None),
        expect(&[("h1", 10), ("h2", 10), ("h3", 10)])
    );
    // A retry rather takes what is well.
    let tried = [Arc::clone(&service.endpoints[1])];
    for _ in 0..5 {
        let pick = service.choose(&RULES, None, &tried, Moment::now()).unwrap();
        assert_eq!(&*pick.endpoint().place.host, "h3");
    }
    for at in 0..4 {
        cannot_connect(&service, at);
    }
    assert_eq!(spread(&service, 40, None).len(), 4, "better than nothing");
}

#[test]
fn a_retry_never_goes_to_the_same_endpoint() {
    let service = service(2);
    let mut tried = Vec::new();
    for _ in 0..2 {
        let pick = service
            .choose(&RULES, Some(7), &tried, Moment::now())
            .unwrap();
        assert!(!is_among(pick.endpoint(), &tried));
        tried.push(Arc::clone(pick.endpoint()));
    }
    let none = service.choose(&RULES, Some(7), &tried, Moment::now());
    assert_eq!(none.unwrap_err(), NoPick::AllTried);
}

#[test]
fn what_is_full_is_passed_over_until_a_request_ends() {
    let rules = Rules {
        in_flight: 2,
        ..RULES
    };
    for balance in [Balance::RoundRobin, Balance::LeastConnections] {
        let service = service(2);
        let rules = Rules { balance, ..rules };
        let choose = |key| service.choose(&rules, key, &[], Moment::now());
        let mut open: Vec<Pick> = (0..4).map(|_| choose(Some(1)).unwrap()).collect();
        let under_way: Vec<u32> = service
            .endpoints
            .iter()
            .map(|one| one.in_flight())
            .collect();
        assert_eq!(under_way, [2, 2], "{balance:?}");
        assert_eq!(choose(None).unwrap_err(), NoPick::Full);
        open.pop();
        assert!(choose(None).is_ok());
        open.clear();
        let under_way: Vec<u32> = service
            .endpoints
            .iter()
            .map(|one| one.in_flight())
            .collect();
        assert_eq!(under_way, [0, 0]);
    }
    assert_eq!(
        service(0)
            .choose(&RULES, None, &[], Moment::now())
            .unwrap_err(),
        NoPick::None
    );
}

#[test]
fn least_connections_goes_where_little_is_under_way() {
    let service = service(3);
    let rules = Rules {
        balance: Balance::LeastConnections,
        ..RULES
    };
    let choose = || service.choose(&rules, None, &[], Moment::now()).unwrap();
    let slow: Vec<Pick> = (0..3).map(|_| choose()).collect();
    let hosts: std::collections::BTreeSet<_> = slow
        .iter()
        .map(|pick| pick.endpoint().place.host.clone())
        .collect();
    assert_eq!(hosts.len(), 3, "one each");
    let free = slow[1].endpoint().place.host.clone();
    let mut slow = slow;
    drop(slow.remove(1));
    assert_eq!(choose().endpoint().place.host, free);
}

#[test]
fn a_key_belongs_to_one_endpoint_and_moves_only_when_that_goes() {
    let service = service(5);
    let of = |key: u64| {
        let chosen = spread(&service, 10, Some(key));
        assert_eq!(chosen.len(), 1, "{chosen:?}");
        chosen.into_keys().next().unwrap()
    };
    let before: Vec<String> = (0..200).map(|key| of(mix(key))).collect();
    let distinct: std::collections::BTreeSet<_> = before.iter().collect();
    assert_eq!(distinct.len(), 5, "all are used");
    take_out(&service, 2);
    for (key, host) in before.iter().enumerate() {
        let now = of(mix(key as u64));
        assert!(now == *host || host == "h2", "{key}: {host} became {now}");
        assert_ne!(now, "h2");
    }
}
