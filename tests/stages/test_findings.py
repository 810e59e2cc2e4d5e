from stages.findings import Finding, report_lines


def test_findings_stand_under_their_group_with_mark_and_remedy():
    groups = {
        "disk": [Finding("problem", "1 GB is free, 3 are needed", "make room")],
        "time": [Finding("", "clean  3 s"), Finding("warning", "slow")],
    }
    assert report_lines(groups) == [
        "disk",
        "  problem  1 GB is free, 3 are needed",
        "           -> make room",
        "time",
        "           clean  3 s",
        "  warning  slow",
        "1 problem, 1 warning",
    ]
