"""Writes what becomes of each test, a line of JSON each. Written by kuth."""

import json
import os


def note(name, outcome, text=""):
    with open(os.environ["KUTH_OUTCOMES"], "a", encoding="utf-8") as file:
        file.write(json.dumps([name, outcome, text]) + "\n")


def pytest_collectreport(report):
    if report.failed:
        note(report.nodeid or "collection", "error", str(report.longrepr))


def pytest_runtest_logreport(report):
    if report.failed:
        note(report.nodeid, "failed" if report.when == "call" else "error", report.longreprtext)
    elif report.skipped:
        note(report.nodeid, "skipped")
    elif report.when == "call":
        note(report.nodeid, "passed")
