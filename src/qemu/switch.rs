//! The switch of an internal network. Each machine on it is a QEMU with a datagram socket in the
//! network's directory, named by the card's address, that sends its frames to the switch's socket
//! there; the switch passes each on to the machine that has the address, or to all the others.
//! Datagrams need no connection, so machines and switch may start and end in any order.
//!
//! A process of its own, started by the `run` scripts, of which one a network stays; it ends by
//! itself some time after the last machine. It knows nothing of machines but their sockets.

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use crate::error::{Context, Result};
use crate::files::Lock;

/// The first argument of a kuth that is a switch; the second is the network's directory.
pub const SUBCOMMAND: &str = "__network";

/// The switch's socket, to which machines send.
pub const SOCKET: &str = "switch";

/// Held by the one switch.
const LOCK: &str = "lock";

/// Touched by whoever is about to start a machine.
const WANTED: &str = "wanted";

/// How often the directory is looked at for machines that came or went.
const LOOK: Duration = Duration::from_secs(1);

/// How long it stays without a machine: longer than QEMU may take to set one up.
const IDLE: Duration = Duration::from_secs(90);

/// How long a machine may hold the others up when its queue is full.
const SEND_TIMEOUT: Duration = Duration::from_millis(20);

/// How many addresses are remembered; a guest could make up any number.
const ADDRESSES: usize = 4096;

type Address = [u8; 6];

/// Runs the switch of the network in `directory`.
pub fn main(directory: &Path) -> ExitCode {
    match serve(directory, IDLE) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Passes frames on until no machine was there for `idle`. Ends at once where another one does.
fn serve(directory: &Path, idle: Duration) -> Result<()> {
    let what = || format!("joining the machines of {}", directory.display());
    let wanted = File::create(directory.join(WANTED)).with_context(what)?;
    wanted.set_modified(SystemTime::now()).with_context(what)?;
    let Some(_lock) = take_over(directory)? else { return Ok(()) };
    let place = Place { handle: File::open(directory).with_context(what)? };
    remove_socket(directory)?;
    let socket = UnixDatagram::bind(place.path(SOCKET)).with_context(what)?;
    socket.set_read_timeout(Some(LOOK)).with_context(what)?;
    let mut switch = Switch::new(place).with_context(what)?;
    let mut looked = Instant::now();
    let mut frame = vec![0; 1 << 17];
    loop {
        match socket.recv_from(&mut frame) {
            Ok((length, from)) => {
                let name = from.as_pathname().and_then(Path::file_name);
                let name = name.unwrap_or_default().to_string_lossy();
                switch.pass_on(&name, &frame[..length], directory)?;
            }
            Err(error) if is_late(&error) => {}
            Err(error) => return Err(error).with_context(what),
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            switch.look(directory)?;
            let touched = wanted.metadata().and_then(|it| it.modified()).with_context(what)?;
            let recent = touched.elapsed().is_ok_and(|age| age < idle);
            if switch.machines.is_empty() && !recent {
                return remove_socket(directory);
            }
        }
    }
}

/// Removes the switch's socket, if there is one.
fn remove_socket(directory: &Path) -> Result<()> {
    match std::fs::remove_file(directory.join(SOCKET)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing the socket in {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// The lock, unless another switch stays. One that ends decided so before the directory was
/// touched, so it is gone soon.
fn take_over(directory: &Path) -> Result<Option<Lock>> {
    let start = Instant::now();
    while start.elapsed() < 2 * LOOK {
        if let Some(lock) = Lock::try_exclusive(&directory.join(LOCK))? {
            return Ok(Some(lock));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(None)
}

/// Whether a socket gave up waiting.
fn is_late(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// The network's directory. A socket's path may have 107 bytes; through a handle it is always
/// short.
struct Place {
    handle: File,
}

impl Place {
    fn path(&self, name: &str) -> String {
        format!("/proc/self/fd/{}/{name}", self.handle.as_raw_fd())
    }
}

/// How a machine takes its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// It is worth waiting for.
    Prompt,
    /// It let one lie: it gets what it has room for, without waiting.
    Stalled,
}

/// What is known of the network.
struct Switch {
    place: Place,
    /// The sockets of machines that are there.
    machines: HashMap<String, Pace>,
    /// Behind which socket an address was seen.
    addresses: HashMap<Address, String>,
    /// Sends, and waits a little.
    patient: UnixDatagram,
    /// Sends, and never waits.
    hasty: UnixDatagram,
}

impl Switch {
    fn new(place: Place) -> std::io::Result<Switch> {
        let patient = UnixDatagram::unbound()?;
        patient.set_write_timeout(Some(SEND_TIMEOUT))?;
        let hasty = UnixDatagram::unbound()?;
        hasty.set_nonblocking(true)?;
        let (machines, addresses) = (HashMap::new(), HashMap::new());
        Ok(Switch { place, machines, addresses, patient, hasty })
    }

    /// Finds out which machines are there. The socket of one that ended is left, as another QEMU
    /// may just be taking its name; it refuses to be connected.
    fn look(&mut self, directory: &Path) -> Result<()> {
        let mut machines = HashMap::new();
        let entries = std::fs::read_dir(directory);
        let entries = entries.with_context(|| format!("reading {}", directory.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let probe = UnixDatagram::unbound().context("making a socket")?;
            if is_card(&name) && probe.connect(self.place.path(&name)).is_ok() {
                let pace = self.machines.get(&name).copied().unwrap_or(Pace::Prompt);
                machines.insert(name, pace);
            }
        }
        self.machines = machines;
        self.addresses.retain(|_, name| self.machines.contains_key(name));
        Ok(())
    }

    /// Passes on a frame that came from the socket `from`.
    fn pass_on(&mut self, from: &str, frame: &[u8], directory: &Path) -> Result<()> {
        let (Some(to), Some(source)) = (address(frame, 0), address(frame, 6)) else {
            return Ok(());
        };
        if !self.machines.contains_key(from) {
            self.look(directory)?;
        }
        if !is_group(&source) {
            if self.addresses.len() >= ADDRESSES {
                self.addresses.clear();
            }
            self.addresses.insert(source, from.to_string());
        }
        match self.addresses.get(&to).filter(|_| !is_group(&to)) {
            // It was on the sender's side all along.
            Some(name) if name == from => {}
            Some(name) => self.send(&name.clone(), frame),
            None => {
                let others: Vec<String> =
                    self.machines.keys().filter(|name| *name != from).cloned().collect();
                others.iter().for_each(|name| self.send(name, frame));
            }
        }
        Ok(())
    }

    /// Sends what arrives or not, as a cable does.
    fn send(&mut self, name: &str, frame: &[u8]) {
        let Some(pace) = self.machines.get_mut(name) else { return };
        let socket = if *pace == Pace::Prompt { &self.patient } else { &self.hasty };
        match socket.send_to(frame, self.place.path(name)) {
            Ok(_) => *pace = Pace::Prompt,
            Err(error) if is_late(&error) => *pace = Pace::Stalled,
            // The next look finds it gone.
            Err(_) => {}
        }
    }
}

/// Whether a file's name is a card's: its address without colons.
fn is_card(name: &str) -> bool {
    name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The address at `offset` of a frame.
fn address(frame: &[u8], offset: usize) -> Option<Address> {
    frame.get(offset..offset + 6)?.try_into().ok()
}

/// Whether an address is of several machines.
fn is_group(address: &Address) -> bool {
    address[0] & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "525400000001";
    const B: &str = "525400000002";
    const C: &str = "525400000003";
    const ALL: [u8; 6] = [0xff; 6];
    /// Long enough for a busy machine; what is waited for comes at once otherwise.
    const LONG: Duration = Duration::from_secs(120);

    struct Network {
        directory: tempfile::TempDir,
    }

    impl Network {
        fn new() -> Network {
            // Longer than a socket's path may be.
            let directory = tempfile::Builder::new().prefix(&"n".repeat(120)).tempdir().unwrap();
            Network { directory }
        }

        fn serve(&self, idle: Duration) -> std::thread::JoinHandle<Result<()>> {
            let directory = self.directory.path().to_path_buf();
            std::thread::spawn(move || serve(&directory, idle))
        }

        fn machine(&self, name: &'static str) -> Machine {
            let _ = std::fs::remove_file(self.directory.path().join(name));
            let handle = File::open(self.directory.path()).unwrap();
            let place = Place { handle };
            let socket = UnixDatagram::bind(place.path(name)).unwrap();
            socket.set_read_timeout(Some(LONG)).unwrap();
            Machine { name, socket, place }
        }

        fn wait_for_switch(&self) {
            let start = Instant::now();
            let probe = UnixDatagram::unbound().unwrap();
            let place = Place { handle: File::open(self.directory.path()).unwrap() };
            while probe.connect(place.path(SOCKET)).is_err() {
                assert!(start.elapsed() < LONG, "no switch");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    struct Machine {
        name: &'static str,
        socket: UnixDatagram,
        place: Place,
    }

    fn of(name: &str) -> Address {
        std::array::from_fn(|at| u8::from_str_radix(&name[2 * at..2 * at + 2], 16).unwrap())
    }

    impl Machine {
        fn send(&self, to: Address, text: &str) {
            let frame = [&to[..], &of(self.name), b"\x08\x00", text.as_bytes()].concat();
            self.socket.send_to(&frame, self.place.path(SOCKET)).unwrap();
        }

        /// The text of the next frame, which must come.
        fn next(&self) -> String {
            let mut frame = [0; 2000];
            let length = self.socket.recv(&mut frame).expect("no frame came");
            String::from_utf8_lossy(&frame[14..length]).into_owned()
        }

        /// What comes before `last`, which must come. The switch passes frames on in their order,
        /// so nothing older is on its way then.
        fn before(&self, last: &str) -> Vec<String> {
            std::iter::repeat_with(|| self.next()).take_while(|text| text != last).collect()
        }
    }

    #[test]
    fn frames_go_to_whom_they_are_for_and_never_back() {
        let network = Network::new();
        let (a, b, c) = (network.machine(A), network.machine(B), network.machine(C));
        let switch = network.serve(Duration::ZERO);
        network.wait_for_switch();
        a.send(ALL, "who is there");
        assert_eq!((b.next().as_str(), c.next().as_str()), ("who is there", "who is there"));
        b.send(of(A), "b is");
        a.send(of(A), "to myself");
        a.socket.send_to(b"short", a.place.path(SOCKET)).unwrap();
        a.send(ALL, "last of a");
        b.send(ALL, "last of b");
        assert_eq!(a.before("last of b"), ["b is"], "a frame came back or was doubled");
        assert_eq!(b.before("last of a"), [""; 0]);
        assert_eq!(c.before("last of a"), [""; 0], "A's place was known");
        assert_eq!(c.next(), "last of b");
        drop((a, b, c));
        switch.join().unwrap().unwrap();
        assert!(!network.directory.path().join(SOCKET).exists());
    }

    #[test]
    fn machines_and_switch_come_and_go_in_any_order() {
        let network = Network::new();
        let first = network.serve(10 * LONG);
        network.wait_for_switch();
        let second = network.serve(10 * LONG);
        second.join().unwrap().unwrap();
        assert!(!first.is_finished(), "the second one gives way");
        let (a, b) = (network.machine(A), network.machine(B));
        a.send(ALL, "1");
        assert_eq!(b.next(), "1");
        // A machine that starts anew, and one that never said anything.
        drop(b);
        let b = network.machine(B);
        a.send(of(B), "2");
        assert_eq!(b.next(), "2");
        let c = network.machine(C);
        c.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (start, mut frame) = (Instant::now(), [0; 2000]);
        // It gets what is sent after the switch has looked once more.
        while c.socket.recv(&mut frame).is_err() {
            assert!(start.elapsed() < LONG, "nobody found it");
            a.send(ALL, "3");
        }
    }

    #[test]
    fn a_machine_that_stalls_costs_the_others_little() {
        let network = Network::new();
        let (a, b, _stalled) = (network.machine(A), network.machine(B), network.machine(C));
        let directory = network.directory.path();
        let mut switch = Switch::new(Place { handle: File::open(directory).unwrap() }).unwrap();
        let frames = 200;
        let mut waits = 0;
        for turn in 0..frames {
            let text = turn.to_string();
            let frame = [&ALL[..], &of(a.name), b"\x08\x00", text.as_bytes()].concat();
            let start = Instant::now();
            switch.pass_on(a.name, &frame, directory).unwrap();
            waits += u32::from(start.elapsed() >= SEND_TIMEOUT);
            assert_eq!(b.next(), text);
        }
        assert_eq!(switch.machines[C], Pace::Stalled, "its queue was not filled");
        // Waiting each time would make it every frame once the queue is full. That this machine is
        // busy with something else makes it a few.
        assert!(waits < frames / 2, "waited {waits} times");
    }
}
