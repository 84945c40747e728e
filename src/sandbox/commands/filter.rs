//! Filters (seccomp) for the system calls of commands. They apply to the thread that installs them and
//! to every process that it starts afterwards. They imply `no_new_privs`, so set-id files grant no
//! privileges.
//!
//! Skipped, with success as the result:
//! - fsync and similar calls: a tree under construction is discarded after a crash, so waiting for the
//!   disk thousands of times (dpkg syncs every file) is useless. The cache syncs the finished tar.
//! - setting file flags (`chattr +i`): root of the host could do it, an ordinary user could not, and
//!   trees do not store them. So all users get the same tree, and no tree that cannot be removed.
//!
//! Refused:
//! - keyrings: the keys of a session are inherited across namespaces.
//! - a cgroup namespace: it would allow a mount of the host's control groups, which belong to the
//!   user id that is mapped to root.
//!
//! Numbers: the kernel's system call tables, `linux/fs.h`, `linux/sched.h`.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::tracer::{self, DESCRIPTOR};
use crate::error::{Context, Result};
use crate::sandbox::Network;
use crate::sandbox::owners::LAST;

/// The numbers of one architecture's system calls.
struct Numbers {
    arch: TargetArch,
    /// fsync, fdatasync, msync, sync, syncfs, sync_file_range.
    syncs: [i64; 6],
    ioctl: i64,
    unshare: i64,
    clone: i64,
    /// add_key, request_key, keyctl.
    keys: [i64; 3],
    close: i64,
    fcntl: i64,
    socket: i64,
    /// Each with the index of its argument for the owner: chown, fchown, lchown, fchownat.
    chowns: &'static [(i64, u8)],
}

#[cfg(target_arch = "x86_64")]
const NUMBERS: Numbers = Numbers {
    arch: TargetArch::x86_64,
    syncs: [74, 75, 26, 162, 306, 277],
    ioctl: 16,
    unshare: 272,
    clone: 56,
    keys: [248, 249, 250],
    close: 3,
    fcntl: 72,
    socket: 41,
    chowns: &[(92, 1), (93, 1), (94, 1), (260, 2)],
};
#[cfg(target_arch = "aarch64")]
const NUMBERS: Numbers = Numbers {
    arch: TargetArch::aarch64,
    syncs: [82, 83, 227, 81, 267, 84],
    ioctl: 29,
    unshare: 97,
    clone: 220,
    keys: [217, 218, 219],
    close: 57,
    fcntl: 25,
    socket: 198,
    // There are no others.
    chowns: &[(55, 1), (54, 2)],
};

/// clone3 and file_setattr have the same number on all architectures. Their arguments are in memory,
/// which a filter cannot read; libraries fall back to clone and ioctl.
const CLONE3: i64 = 435;
const FILE_SETATTR: i64 = 469;

/// FS_IOC_SETFLAGS, FS_IOC32_SETFLAGS, FS_IOC_FSSETXATTR.
const SET_FLAGS: [u64; 3] = [0x4008_6602, 0x4004_6602, 0x401c_5820];

const CLONE_NEWCGROUP: u64 = 0x0200_0000;

/// AF_INET, AF_INET6, AF_PACKET, AF_VSOCK.
const NETWORKS: [u64; 4] = [2, 10, 17, 40];
const AF_NETLINK: u64 = 16;
const NETLINK_AUDIT: u64 = 9;

/// A command of fcntl: that a descriptor is closed when a program is started.
const F_SETFD: u64 = 2;

const EPERM: u32 = 1;
const EINVAL: u32 = 22;
const EPROTONOSUPPORT: u32 = 93;
const EAFNOSUPPORT: u32 = 97;
const ENOSYS: u32 = 38;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Installs the filters on this thread.
pub fn install() -> Result<()> {
    let numbers = NUMBERS;
    let always = |calls: &[i64]| calls.iter().map(|call| (*call, Vec::new())).collect::<Rules>();
    let mut skipped = always(&numbers.syncs);
    let set_flags = SET_FLAGS.map(|command| rule(1, SeccompCmpOp::Eq, command));
    skipped.insert(numbers.ioctl, set_flags.into_iter().collect::<Result<_>>()?);
    let mut refused = always(&numbers.keys);
    for call in [numbers.unshare, numbers.clone] {
        let flag = SeccompCmpOp::MaskedEq(CLONE_NEWCGROUP);
        refused.insert(call, vec![rule(0, flag, CLONE_NEWCGROUP)?]);
    }
    let unknown = always(&[CLONE3, FILE_SETATTR]);
    // With errno 0, a call returns 0 without being executed.
    [(skipped, 0), (refused, EPERM), (unknown, ENOSYS)]
        .into_iter()
        .try_for_each(|(rules, errno)| apply(rules, errno))
}

/// Installs the filters that stand in for namespaces where there are none, so that a command that fails in
/// them fails here too: no ids above 65535, no messages to the audit log of the machine, and without
/// `network = true` no sockets of networks. Loopback interfaces are the container's, and refused too. The
/// calls that the [`tracer`] looks at are stopped.
pub fn install_for_container(network: Network) -> Result<()> {
    let numbers = NUMBERS;
    let mut owners = Rules::new();
    for (call, index) in numbers.chowns {
        let high = |index| {
            let none = (index, SeccompCmpOp::Ne, u64::from(u32::MAX));
            rule_of(&[(index, SeccompCmpOp::Gt, u64::from(LAST)), none])
        };
        owners.insert(*call, vec![high(*index)?, high(index + 1)?]);
    }
    apply(owners, EINVAL)?;
    let close = rule(0, SeccompCmpOp::Eq, DESCRIPTOR as u64)?;
    let at_start = [(0, SeccompCmpOp::Eq, DESCRIPTOR as u64), (1, SeccompCmpOp::Eq, F_SETFD)];
    let closes = [(numbers.close, vec![close]), (numbers.fcntl, vec![rule_of(&at_start)?])];
    apply(Rules::from(closes), 0)?;
    let audit = [(0, SeccompCmpOp::Eq, AF_NETLINK), (2, SeccompCmpOp::Eq, NETLINK_AUDIT)];
    apply(Rules::from([(numbers.socket, vec![rule_of(&audit)?])]), EPROTONOSUPPORT)?;
    if network == Network::None {
        let families = NETWORKS.map(|family| rule(0, SeccompCmpOp::Eq, family));
        let families = families.into_iter().collect::<Result<_>>()?;
        apply(Rules::from([(numbers.socket, families)]), EAFNOSUPPORT)?;
    }
    // Last: it stops what applying another one does.
    let stopped = tracer::stopped().map(|call| (call, Vec::new())).collect();
    apply_action(stopped, SeccompAction::Trace(0))
}

/// Has the calls of `rules` fail with `errno`.
fn apply(rules: Rules, errno: u32) -> Result<()> {
    apply_action(rules, SeccompAction::Errno(errno))
}

fn apply_action(rules: Rules, matched: SeccompAction) -> Result<()> {
    let otherwise = SeccompAction::Allow;
    let filter = SeccompFilter::new(rules, otherwise, matched, NUMBERS.arch)
        .context("creating a system call filter")?;
    let program: BpfProgram = filter.try_into().context("compiling a system call filter")?;
    seccompiler::apply_filter(&program).context("installing a system call filter")
}

/// Matches when argument `index` compares to `value`.
fn rule(index: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule> {
    rule_of(&[(index, operator, value)])
}

/// Matches when all arguments compare.
fn rule_of(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule> {
    let condition = |(index, operator, value): &(u8, SeccompCmpOp, u64)| {
        SeccompCondition::new(*index, SeccompCmpArgLen::Dword, operator.clone(), *value)
    };
    let conditions = conditions.iter().map(condition).collect::<std::result::Result<_, _>>();
    let conditions = conditions.context("creating a system call condition")?;
    SeccompRule::new(conditions).context("creating a system call rule")
}
