from selvage.start import main

main()
