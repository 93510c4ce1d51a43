def test_print_config__overrides_and_copy(call_tool, toy_config, tmp_path, capsys):
    options = ('--cfg-options', 'model.width=3')
    assert call_tool('analysis_tools/print_config.py', toy_config, '--save-path', 'all.json', *options) == 0
    assert 'width=3' in capsys.readouterr().out
    assert '"width": 3' in (tmp_path / 'all.json').read_text()


def test_print_config__unknown_format(call_tool, toy_config, tmp_path, capsys):
    assert call_tool('analysis_tools/print_config.py', toy_config, '--save-path', 'all.txt') == 2
    assert 'it must end in .py' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
