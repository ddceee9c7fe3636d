"""dataset/{train,test}.parquet -> evaluation/matcher.joblib and how well it hears."""

from subterra import matcher
from subterra.dataset import agent_turns, customer_words
from subterra.errors import one_line
from subterra.flowchart import Flowchart
from subterra.records import CONVERSATION, read_table
from subterra.text import pretty, write_whole

with one_line(snakemake.log[0]):
    flowchart = Flowchart.read(snakemake.input.flowchart)
    train, test = (read_table(file, CONVERSATION) for file in (snakemake.input.train, snakemake.input.test))
    values = {value for pool in flowchart.variables.values() for value in pool}
    seed = snakemake.params.seed
    ear = matcher.fit(agent_turns(train), values, customer_words(train), seed)
    measured = matcher.accuracy(ear, agent_turns(test), customer_words(test), seed)
    matcher.save(ear, snakemake.output.matcher)
    write_whole(snakemake.output.accuracy, pretty(measured))
