"""What `pytest` of a boot runs on the host, by SSH into the guest."""


def test_distribution(host):
    assert host.system_info.distribution == "debian"


def test_root_file_system(host):
    assert host.mount_point("/").exists


def test_ssh(host):
    assert host.service("ssh").is_running
