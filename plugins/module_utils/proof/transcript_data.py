# SPDX-License-Identifier: GPL-3.0-or-later
"""Data for ``transcript``: numbers in words, ways to write a word, and Chinese characters.

They are Python because Ansible packs only Python for a module.
"""

from __future__ import annotations

# The numbers from 0, as far as a language has words of their own. Hindi has them up to 99.
SMALL = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    " seventeen eighteen nineteen",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis"
    " diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis"
    " veintisiete veintiocho veintinueve",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dix-sept"
    " dix-huit dix-neuf",
    "it": "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici sedici"
    " diciassette diciotto diciannove",
    "pt": "zero um dois três quatro cinco seis sete oito nove dez onze doze treze quatorze quinze dezesseis dezessete"
    " dezoito dezenove",
    "hi": "शून्य एक दो तीन चार पाँच छह सात आठ नौ दस ग्यारह बारह तेरह चौदह पंद्रह सोलह सत्रह अठारह उन्नीस बीस"
    " इक्कीस बाईस तेईस चौबीस पच्चीस छब्बीस सत्ताईस अट्ठाईस उनतीस तीस इकतीस बत्तीस तैंतीस चौंतीस पैंतीस"
    " छत्तीस सैंतीस अड़तीस उनतालीस चालीस इकतालीस बयालीस तैंतालीस चौवालीस पैंतालीस छियालीस सैंतालीस"
    " अड़तालीस उनचास पचास इक्यावन बावन तिरपन चौवन पचपन छप्पन सत्तावन अट्ठावन उनसठ साठ इकसठ बासठ तिरसठ"
    " चौंसठ पैंसठ छियासठ सड़सठ अड़सठ उनहत्तर सत्तर इकहत्तर बहत्तर तिहत्तर चौहत्तर पचहत्तर छिहत्तर सतहत्तर"
    " अठहत्तर उन्यासी अस्सी इक्यासी बयासी तिरासी चौरासी पचासी छियासी सत्तासी अट्ठासी नवासी नब्बे इक्यानवे"
    " बानवे तिरानवे चौरानवे पचानवे छियानवे सत्तानवे अट्ठानवे निन्यानवे",
}
# Twenty, thirty and so on.
TENS = {
    "en": "twenty thirty forty fifty sixty seventy eighty ninety",
    "es": "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
    "fr": "vingt trente quarante cinquante soixante soixante quatre-vingt quatre-vingt",
    "it": "venti trenta quaranta cinquanta sessanta settanta ottanta novanta",
    "pt": "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa",
}
# One hundred, two hundred and so on. A language with one word puts the number before it.
HUNDREDS = {
    "en": "hundred",
    "es": "ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos novecientos",
    "fr": "cent",
    "hi": "सौ",
    "it": "cento duecento trecento quattrocento cinquecento seicento settecento ottocento novecento",
    "pt": "cento duzentos trezentos quatrocentos quinhentos seiscentos setecentos oitocentos novecentos",
}
THOUSAND = {"en": "thousand", "es": "mil", "fr": "mille", "hi": "हजार", "it": "mila", "pt": "mil"}
# Words that may stand inside a number, and say nothing.
LINKS = {"en": ("and",), "es": ("y",), "fr": ("et",), "it": ("e",), "pt": ("e",)}
# Other ways to write a word: abbreviations, signs and contractions. All words are in lower case, without marks.
SAME = {
    "en": {
        "dr": "doctor", "mr": "mister", "mrs": "missus", "%": "percent", "&": "and", "$": "dollars", "£": "pounds",
        "€": "euros", "per cent": "percent", "okay": "ok", "can't": "can not", "cannot": "can not",
        "won't": "will not", "shan't": "shall not", "i'm": "i am", "let's": "let us",
        **{f"{word}'s": f"{word} is" for word in ("it", "that", "there", "here", "what", "who", "where", "he", "she")},
    },
    "es": {"cien": "ciento", "dr": "doctor", "sr": "señor", "sra": "señora", "%": "por ciento", "$": "dólares",
           "€": "euros"},
    "fr": {"dr": "docteur", "mme": "madame", "mlle": "mademoiselle", "%": "pour cent", "$": "dollars", "€": "euros",
           "cents": "cent", "vingts": "vingt"},
    "it": {"dott": "dottor", "sig": "signor", "%": "per cento", "$": "dollari", "€": "euro"},
    "pt": {"dr": "doutor", "sr": "senhor", "sra": "senhora", "%": "por cento", "$": "dólares", "€": "euros",
           "cem": "cento", "catorze": "quatorze"},
    "hi": {"%": "प्रतिशत"},
}  # fmt: skip
# English endings with an apostrophe.
ENDINGS = {"n't": "not", "'re": "are", "'ve": "have", "'ll": "will", "'d": "would"}
# Consonants of Devanagari and of Urdu's script by their sound. Both scripts write vowels too differently.
DEVANAGARI = (
    "कखगघङचछजझञटठडढणतथदधनपफबभमरलशषसहं",
    "k kh g gh n c ch j jh n t th d dh n t th d dh n p ph b bh m r l s s s h n",
)
URDU = (
    "کھگخغقچجذزضظژٹتطڈدنںپبفمرڑلشسصثہحهك",
    "k h g kh g k c j j j j j j t t t d d n n p b ph m r r l s s s s h h h k",
)
# Traditional characters and the simplified ones for the 2,500 most frequent of these, by OpenCC (Apache-2.0).
TRADITIONAL = (
    "丟並乾亂亞佈佔併來侷係俠俬倆倉個們倖倫偉側偵偽傑傘備傢傭傳債傷傾僅僑僕僞僱價儀儁億儘償優儲兇兌兒內兩冊凈凍凱"
    "別則剋剛剝創劃劇劉劍劑勁動務勛勝勞勢勳勵勸匯區協卻卽厤厭厲參叢吳呂員唸問啓啞啟喚喪喫喬單嗎嘆嘗噁噴噸噹嚇嚐嚥"
    "嚮嚴囌國圍園圓圖團垻埰執堅報場塊塗塵墰墳墻壇壓壜壞壩壯壺壽夠夢夥夾奧奪奬奮姦娛婦媽嬌嬰嬸孃孫學宮寀實寧審寫寬"
    "寵寶將專尋對導屆屍屢層屬岡峯島峽崑崗嵗嶺嶽巖帥師帳帶幣幫幹幾庫廈廚廝廟廠廢廣廳弔張強彆彈彌彎彔彙彫彿後徑從復"
    "徵徹恆恥悅悶惡惱愛態慘慣慮慶慼慾憂憐憑憤憲憶應懞懲懷懸懼戀戰戲戶拋捨捱捲掃掙掛採揚換揮損搖搶摺撈撐撥撫撲擁擇"
    "擊擋擔據擠擬擲擴擺擾攔攜攝攤敎敗敘敵數斬斷於旂旣昇時晉暈暢暫曆曉曏曬書會朮東枴柺査桿條棄棊棗棲楊業極榘榦榪榮"
    "構槍樂樑樓標樞樣樸樹橋機橫檔檢檯櫃欄權欽歎歐歡歲歷歸殘殭殲殺殻殼毀氣氫氾汎汙決沒沖況洩涼淚淨淩淵淺減測渾湊湧"
    "湯準溝溫溼滅滙滬滯滲滾滿漁漢漲漸漿潑潔潛潤潰澤濃濕濛濟濤濱瀋瀰灑灘灣災為烏無煉煙煥煩熱燈燒營燬燭爐爛爭爲爺爾"
    "牀牆牽犧狀狹猶獃獄獅獎獨獲獵獸獻現琱瑤瑪環璿產産甦甯畝畢畫異畵當疇疊痠瘋療癒癥發皺盃盜盡監盤盧盪眞眾睏睜瞞矇"
    "硃碩確碼磚礎礙礦祕禍禎禦禪禮稅稟種稱穀積穩穫窩窮窯竪競筆箇節範築簡簽籃籌籠籤糧糰糾紀約紅紋納紐純紗紙級紛紡紮"
    "細紹終絃組結絕絡給統絲絶綉經綜綠綫維綱網綵綿緊緑緒線緣編緩緯練緻縣縫縮縱縴總績織繞繡繩繪繫繼續纍纏纔纖罈罎罰"
    "罵罷羅羣義習翫聖聞聯聰聲職聽肅脅脈脣脩脫脹腎腦腫腳腸膚膠膽臉臘臟臥臨臺與興舉舊舘艙艦艱艷茲荊莊華菸萊萬葉葯蒐"
    "蒼蓆蓋蓮蔔蔘蔣蕩蕭薑薦薩藍藝藥蘆蘇蘭處虛號虧蝕蝦蟲蠟蠻衆術衕衚衛衝裏補裝裡製複褲襬襲覈見規視親覺覽觀觸訂計訊"
    "討訓託記訟訪設許訴診註証詔評詞詢試詩話該詳誇誌認誕誘語誠誤說説誰課誼調談請諒論諧諮諸諾謀謂謙講謝謹證識譚譜譭"
    "譯議護譽讀變讓讚豈豎豐豔豬貓貝貞負財貢貧貨販貪貫責貴買貸費貼貿賀資賈賊賓賜賞賠賢賣賦質賬賭賴賺購賽贊贏趕趙趨"
    "跡踐蹟蹤躍車軌軍軒軟軸較載輓輔輕輛輝輩輪輯輸輻輿轄轉轎轟辦辭辯農迴這連週進遊運過達違遙遜遞遠適遲遷選遺遼邁還"
    "邊邏郵鄉鄖鄧鄭鄰醜醣醫釋釐釘針釦鈎鈞鈡鉅鉆鉛鉤銀銅銘銜銳銷鋒鋪鋭鋼錄錛錢錦錫錯録錶鍊鍋鍵鍼鍾鎊鎖鎭鎮鏇鏈鏡鐘"
    "鐵鑄鑑鑒鑽長門閃閉開閑閒間閣閤閥閱閲闆闇闊闕闖關闡闢陝陞陣陰陳陸陽隊階際隨險隱隸隻雖雙雜雞離難雲電霧靈靜鞏鞦"
    "韆韋韓韻響頁頂頃項順須預頑頒頓頗領頭頸頻顆題額顏顔願顛類顧顫顯風颱颳飄飛飯飲飼飽飾餅養餓餘餚館餬餵饒馬馮馳駐"
    "駕駛駡騎騙騰驅驗驚髒體髮鬆鬍鬚鬥鬧鬨鬱魚魯鮮鰭鱗鳥鳳鳴鴨鴻鵝鵬鵰鶴鷄鷹鹹鹼鹽麗麥麪麫麯麴麵麼麽黃點黨黴鼕齊齋"
    "齒齡齣龍龐龜"
)
SIMPLIFIED = (
    "丢并干乱亚布占并来局系侠私俩仓个们幸伦伟侧侦伪杰伞备家佣传债伤倾仅侨仆伪雇价仪俊亿尽偿优储凶兑儿内两册净冻凯"
    "别则克刚剥创划剧刘剑剂劲动务勋胜劳势勋励劝汇区协却即历厌厉参丛吴吕员念问启哑启唤丧吃乔单吗叹尝恶喷吨当吓尝咽"
    "向严苏国围园圆图团坝采执坚报场块涂尘坛坟墙坛压坛坏坝壮壶寿够梦伙夹奥夺奖奋奸娱妇妈娇婴婶娘孙学宫采实宁审写宽"
    "宠宝将专寻对导届尸屡层属冈峰岛峡昆岗岁岭岳岩帅师帐带币帮干几库厦厨厮庙厂废广厅吊张强别弹弥弯录汇雕佛后径从复"
    "征彻恒耻悦闷恶恼爱态惨惯虑庆戚欲忧怜凭愤宪忆应蒙惩怀悬惧恋战戏户抛舍挨卷扫挣挂采扬换挥损摇抢折捞撑拨抚扑拥择"
    "击挡担据挤拟掷扩摆扰拦携摄摊教败叙敌数斩断于旗既升时晋晕畅暂历晓向晒书会术东拐拐查杆条弃棋枣栖杨业极矩干杩荣"
    "构枪乐梁楼标枢样朴树桥机横档检台柜栏权钦叹欧欢岁历归残僵歼杀壳壳毁气氢泛泛污决没冲况泄凉泪净凌渊浅减测浑凑涌"
    "汤准沟温湿灭汇沪滞渗滚满渔汉涨渐浆泼洁潜润溃泽浓湿蒙济涛滨沈弥洒滩湾灾为乌无炼烟焕烦热灯烧营毁烛炉烂争为爷尔"
    "床墙牵牺状狭犹呆狱狮奖独获猎兽献现雕瑶玛环璇产产苏宁亩毕画异画当畴叠酸疯疗愈症发皱杯盗尽监盘卢荡真众困睁瞒蒙"
    "朱硕确码砖础碍矿秘祸祯御禅礼税禀种称谷积稳获窝穷窑竖竞笔个节范筑简签篮筹笼签粮团纠纪约红纹纳纽纯纱纸级纷纺扎"
    "细绍终弦组结绝络给统丝绝绣经综绿线维纲网彩绵紧绿绪线缘编缓纬练致县缝缩纵纤总绩织绕绣绳绘系继续累缠才纤坛坛罚"
    "骂罢罗群义习玩圣闻联聪声职听肃胁脉唇修脱胀肾脑肿脚肠肤胶胆脸腊脏卧临台与兴举旧馆舱舰艰艳兹荆庄华烟莱万叶药搜"
    "苍席盖莲卜参蒋荡萧姜荐萨蓝艺药芦苏兰处虚号亏蚀虾虫蜡蛮众术同胡卫冲里补装里制复裤摆袭核见规视亲觉览观触订计讯"
    "讨训托记讼访设许诉诊注证诏评词询试诗话该详夸志认诞诱语诚误说说谁课谊调谈请谅论谐咨诸诺谋谓谦讲谢谨证识谭谱毁"
    "译议护誉读变让赞岂竖丰艳猪猫贝贞负财贡贫货贩贪贯责贵买贷费贴贸贺资贾贼宾赐赏赔贤卖赋质账赌赖赚购赛赞赢赶赵趋"
    "迹践迹踪跃车轨军轩软轴较载挽辅轻辆辉辈轮辑输辐舆辖转轿轰办辞辩农回这连周进游运过达违遥逊递远适迟迁选遗辽迈还"
    "边逻邮乡郧邓郑邻丑糖医释厘钉针扣钩钧钟巨钻铅钩银铜铭衔锐销锋铺锐钢录锛钱锦锡错录表炼锅键针钟镑锁镇镇旋链镜钟"
    "铁铸鉴鉴钻长门闪闭开闲闲间阁合阀阅阅板暗阔阙闯关阐辟陕升阵阴陈陆阳队阶际随险隐隶只虽双杂鸡离难云电雾灵静巩秋"
    "千韦韩韵响页顶顷项顺须预顽颁顿颇领头颈频颗题额颜颜愿颠类顾颤显风台刮飘飞饭饮饲饱饰饼养饿余肴馆糊喂饶马冯驰驻"
    "驾驶骂骑骗腾驱验惊脏体发松胡须斗闹哄郁鱼鲁鲜鳍鳞鸟凤鸣鸭鸿鹅鹏雕鹤鸡鹰咸碱盐丽麦面面曲曲面么么黄点党霉冬齐斋"
    "齿龄出龙庞龟"
)
