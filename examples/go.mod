module github.com/gitlabjobs/gitlabjobs/examples

go 1.25

require github.com/gitlabjobs/gitlabjobs v0.0.0

replace github.com/gitlabjobs/gitlabjobs => ../
