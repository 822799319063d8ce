//! Where a service answers: what its host says, or what can be seen of the host from here.

use std::net::IpAddr;

use super::reach::Ways;
use crate::coordinator::Caller;
use crate::coordinator::caller::Via;
use crate::coordinator::cluster::{Url, address};
use crate::protocol::api::{AssignmentReport, Phase};

/// Why there is no endpoint behind a tunnel that leads nowhere.
const UNREACHABLE: &str = "its host is connected through a tunnel and gives no address of its own";
/// What can be done about it in any case.
const ADDRESS: &str = "set SKYCLAW_SERVICE_HOST_PUBLIC_BASE_URL on the host";

/// Completes a report with where the service answers, or says why that is not known. `machine` is where others reach the
/// machine of a caller that is near its coordinator; `ways` lead to the caller's ports if it is behind a tunnel.
pub fn complete(
    report: &mut AssignmentReport,
    caller: &Caller,
    machine: Option<&str>,
    ways: &Ways,
) {
    let Some(port) = report.port.filter(|_| report.endpoint.is_none()) else {
        return;
    };
    if let Some(machine) = machine.filter(|_| caller.is_near()) {
        report.endpoint = Some(format!("http://{machine}:{port}"));
        return;
    }
    match caller {
        Caller::Network(address) => report.endpoint = Some(seen(*address, port)),
        // Through the socket comes only who is on this machine.
        Caller::Owner => report.endpoint = Some(seen(IpAddr::from([127, 0, 0, 1]), port)),
        Caller::Host { .. } => {
            let why = match ways {
                Ok(ways) => match ways.get(&port) {
                    Some(way) => {
                        report.endpoint = Some(seen(way.ip(), way.port()));
                        return;
                    }
                    None => UNREACHABLE,
                },
                Err(why) => why,
            };
            if report.phase == Phase::Ready && report.error.is_none() {
                report.error = Some(format!("not reachable: {why}; {ADDRESS}"));
            }
        }
    }
}

fn seen(address: IpAddr, port: u16) -> String {
    format!("http://{}:{port}", host(address))
}

fn host(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Returns where others reach the machine of the coordinator that a request came to first, which the cluster knows at
/// `url`; `via` if that passed it on. Nothing if only that machine itself is meant, as where there are no others.
pub fn machine(url: Option<Url>, via: Option<Via>) -> Option<String> {
    let known = url.filter(|url| !address::is_loopback(url));
    let seen = || via.filter(|via| !via.address.to_canonical().is_loopback());
    match known {
        Some(url) => url.host_str().map(str::to_owned),
        None => seen().map(|via| host(via.address)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::queue::cluster::MemberId;

    fn report(port: Option<u16>, endpoint: Option<&str>) -> AssignmentReport {
        AssignmentReport {
            assignment_id: "asg_1".to_owned(),
            phase: Phase::Ready,
            port,
            endpoint: endpoint.map(ToOwned::to_owned),
            error: None,
            last_output: None,
            restarts: 0,
        }
    }

    fn completed(caller: &Caller, report: AssignmentReport) -> (Option<String>, Option<String>) {
        through(&Ok(BTreeMap::new()), caller, report)
    }

    fn through(
        ways: &Ways,
        caller: &Caller,
        mut report: AssignmentReport,
    ) -> (Option<String>, Option<String>) {
        complete(&mut report, caller, None, ways);
        (report.endpoint, report.error)
    }

    #[test]
    fn the_address_that_is_seen_is_taken_unless_the_host_gives_one() {
        for (address, wanted) in [
            ("10.0.0.7", "http://10.0.0.7:3100"),
            ("::ffff:10.0.0.7", "http://10.0.0.7:3100"),
            ("fd00::7", "http://[fd00::7]:3100"),
        ] {
            let caller = Caller::Network(address.parse().unwrap());
            let (endpoint, error) = completed(&caller, report(Some(3100), None));
            assert_eq!((endpoint.as_deref(), error), (Some(wanted), None));
        }
        let caller = Caller::Network("10.0.0.7".parse().unwrap());
        let given = completed(&caller, report(Some(3100), Some("https://a.example")));
        assert_eq!(given.0.as_deref(), Some("https://a.example"));
        assert_eq!(completed(&caller, report(None, None)), (None, None));
    }

    #[test]
    fn what_is_near_one_of_several_coordinators_is_not_near_to_all() {
        let via = |text: &str| {
            let address = text.parse().unwrap();
            let member = MemberId::from(2);
            Some(Via { member, address })
        };
        let (near, owner) = (Caller::Network("::1".parse().unwrap()), Caller::Owner);
        let far = Caller::Network("10.0.0.7".parse().unwrap());
        let (named, here) = ("http://a.example:8787", "http://localhost:8787");
        for (caller, via, url, wanted) in [
            (&near, None, named, "http://a.example:3100"),
            // The address may be that of a proxy.
            (&near, via("10.0.0.2"), named, "http://a.example:3100"),
            (&near, via("127.0.0.1"), named, "http://a.example:3100"),
            (&near, via("10.0.0.2"), here, "http://10.0.0.2:3100"),
            (&near, via("::ffff:10.0.0.2"), "", "http://10.0.0.2:3100"),
            (&owner, via("fd00::2"), here, "http://[fd00::2]:3100"),
            (&owner, None, "", "http://127.0.0.1:3100"),
            (&near, None, here, "http://[::1]:3100"),
            (&near, via("127.0.0.1"), here, "http://[::1]:3100"),
            (&far, via("10.0.0.2"), named, "http://10.0.0.7:3100"),
        ] {
            let machine = machine(Url::parse(url).ok(), via);
            let mut report = report(Some(3100), None);
            complete(
                &mut report,
                caller,
                machine.as_deref(),
                &Ok(BTreeMap::new()),
            );
            assert_eq!(report.endpoint.as_deref(), Some(wanted));
        }
    }

    #[test]
    fn behind_a_tunnel_there_is_a_reason_instead() {
        let tunnel = Caller::Host {
            name: "a".to_owned(),
            may_submit: false,
            said: None,
            token: None,
        };
        let (endpoint, error) = completed(&tunnel, report(Some(3100), None));
        assert_eq!(endpoint, None);
        assert!(error.unwrap().starts_with("not reachable"));
        let given = completed(&tunnel, report(Some(3100), Some("http://a")));
        assert_eq!(given, (Some("http://a".to_owned()), None));
        let way = "127.0.0.1:4100".parse().unwrap();
        let ways = Ok(BTreeMap::from([(3100, way)]));
        let (endpoint, error) = through(&ways, &tunnel, report(Some(3100), None));
        assert_eq!(endpoint.as_deref(), Some("http://127.0.0.1:4100"));
        assert_eq!(error, None);
        let other = through(&ways, &tunnel, report(Some(3101), None));
        assert!(other.1.unwrap().contains("gives no address"));
        let none = Err("its sshd does not forward".to_owned());
        let (_, error) = through(&none, &tunnel, report(Some(3100), None));
        let error = error.unwrap();
        assert!(
            error.starts_with("not reachable: its sshd does not forward; set"),
            "{error}"
        );
    }
}
