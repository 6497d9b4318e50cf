from tune.records import TrialRecord
from tune.repetitions import configuration_of, run_name


def test_configuration_of_a_run_is_its_name_without_the_seed():
    name = run_name("trial-3", 12)
    assert configuration_of(TrialRecord(name, 12, {}, role="final", seed=12)) == "trial-3"
