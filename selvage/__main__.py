from selvage.commands.start import main

main()
