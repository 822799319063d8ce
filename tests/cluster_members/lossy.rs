//! A way to a coordinator that loses an answer, and then leads nowhere.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Loses the first answer that gives a lease. Ends with the test.
pub struct Lossy {
    pub address: SocketAddr,
    lost: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Lossy {
    pub fn before(coordinator: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (lost, over) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (loses, ends) = (Arc::clone(&lost), Arc::clone(&over));
        std::thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                if !loses.load(Ordering::SeqCst) {
                    let there = TcpStream::connect(coordinator).unwrap();
                    pass(&caller, &there, None);
                    pass(&there, &caller, Some(Arc::clone(&loses)));
                }
            }
        });
        Self {
            address,
            lost,
            over,
        }
    }

    pub fn has_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn pass(from: &TcpStream, to: &TcpStream, loses: Option<Arc<AtomicBool>>) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut bytes = [0; 64 << 10];
        while let Ok(length) = from.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..length]);
            let loses_it = loses.as_ref().filter(|_| text.contains("leaseToken"));
            if let Some(lost) = loses_it {
                lost.store(true, Ordering::SeqCst);
                break;
            }
            if length == 0 || to.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
