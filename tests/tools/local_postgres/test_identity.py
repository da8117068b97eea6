"""The server runs whoever starts it: root with and without user namespaces, and ordinary users."""

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.local_postgres.observing import observe, owner_process, read_url
from tools.local_postgres import PostgresServer
from tools.local_postgres.binaries import Binaries, find_binaries
from tools.local_postgres.privileges import NoUsableIdentityError, Privileges, choose_privileges, current_privileges

NAMESPACE = ("unshare", "--user")


def namespace_of(uid: int) -> tuple[str, ...]:
    """Give the command that runs another one as the user id, empty where namespaces are refused."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    prefix = (unshare, "--user", f"--map-user={uid}", f"--map-group={uid}")
    allowed = subprocess.run([*prefix, unshare, "--version"], capture_output=True, check=False).returncode == 0  # noqa: S603
    return prefix if allowed else ()


@pytest.mark.parametrize(
    ("euid", "named", "namespace", "accounts", "expected"),
    [
        (1000, True, NAMESPACE, ["postgres"], Privileges()),
        (1000, True, None, [], Privileges()),
        (1000, False, NAMESPACE, ["postgres"], Privileges(prefix=NAMESPACE)),
        (0, True, NAMESPACE, ["postgres", "nobody"], Privileges(prefix=NAMESPACE)),
        (0, True, None, ["postgres", "nobody"], Privileges(account="postgres")),
        (0, True, None, ["nobody"], Privileges(account="nobody")),
    ],
)
def test_the_identity_follows_from_the_facts(
    euid: int, *, named: bool, namespace: tuple[str, ...] | None, accounts: list[str], expected: Privileges
) -> None:
    """The decision, for every kind of user and machine."""
    assert choose_privileges(euid=euid, named=named, namespace=namespace, accounts=accounts) == expected


@pytest.mark.parametrize(
    ("euid", "named", "accounts", "reason"),
    [(0, True, [], "does not run as root"), (1000, False, ["nobody"], "wants a passwd entry for user id 1000")],
)
def test_without_any_identity_the_reason_is_given(euid: int, *, named: bool, accounts: list[str], reason: str) -> None:
    """An account helps root only: nobody else may change to it."""
    with pytest.raises(NoUsableIdentityError, match=reason):
        choose_privileges(euid=euid, named=named, namespace=None, accounts=accounts)


@pytest.mark.parametrize("uid", [65534, 54321], ids=["named", "unnamed"])
async def test_works_for_an_ordinary_user(uid: int) -> None:
    """A user id with and one without a passwd entry run a server.

    A namespace gives the owner that id and still lets it read this interpreter. Where namespaces are refused the
    owner keeps the present user, and the test of the decision has to do.
    """
    with owner_process(*namespace_of(uid)) as owner:
        observed = await observe(read_url(owner))
    assert owner.returncode == 0
    assert observed.is_gone()
    assert not observed.directory.exists()


async def test_works_without_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root changes to an account, and copies programs the account cannot reach; others run the server themselves.

    That is what a container gives: no `unshare` to be found, and a wheel in a directory that is private to root.
    """
    monkeypatch.delenv("PG_BINDIR", raising=False)
    for tree in find_binaries().movable_trees:
        (tmp_path / tree.name).symlink_to(tree)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PATH", str(tmp_path))
    try:
        account = current_privileges().account
    except NoUsableIdentityError:
        # An ordinary user without a passwd entry has no other way.
        assert os.geteuid() != 0
        return
    assert (account is None) == (os.geteuid() != 0)

    with PostgresServer() as server:
        observed = await observe(server.url())
        assert observed.uid == (os.geteuid() if account is None else pwd.getpwnam(account).pw_uid)
        assert observed.program.is_relative_to(observed.directory) == (account is not None)
    assert observed.is_gone()
    assert not observed.directory.exists()


def test_programs_out_of_reach_that_cannot_be_copied_are_explained(tmp_path: Path) -> None:
    """A PG_BINDIR the account cannot execute is named, not copied: its libraries may be anywhere."""
    with pytest.raises(NoUsableIdentityError, match=f"the account 'nobody' cannot execute the programs in {tmp_path}"):
        Privileges(account="nobody").executable(Binaries(tmp_path / "bin"), tmp_path)
